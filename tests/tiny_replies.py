"""What both engines are asked in tests: a tiny model, an adapter of it, and what it must reply."""

import random

import tiny_models as tiny
import torch
from peft import LoraConfig, get_peft_model

from grounded import generate, loading
from grounded.public.asking import Asking

NEW = 12
HOW = Asking(NEW)


def wordy(architecture="llama", seed=0):
    """A tiny model with many end tokens, so that replies end at different places."""
    model = tiny.model(architecture, seed)
    ends = ["<|end|>", *(f"w{i}" for i in range(6))]
    model.generation_config.eos_token_id = tiny.tokenizer().convert_tokens_to_ids(ends)
    return model


def prompts(number=30, longest=12):
    return tiny.sentences(random.Random(1), number, longest=longest)


def reference(model, asked, new=NEW):
    return generate.reply(model, tiny.tokenizer(), asked, new, 7)


def adapter(folder, seed=5):
    """An adapter of the tiny llama with weights drawn at random."""
    loading.quiet()
    base = wordy()
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM",
        init_lora_weights=False,
    )  # fmt: skip
    get_peft_model(base, config).save_pretrained(folder)
    return folder
