"""Real architectures at random weights, with a word-level tokenizer: small enough for any test."""

import math
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from grounded import loading
from grounded.study import parse

SPECIAL = ("<pad>", "<unk>", "<|user|>", "<|assistant|>", "<|end|>", "<|judge|>")
WORDS = ("safe", "unsafe", "0", "1", *(f"w{i}" for i in range(50)))
TURNS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<|user|> {% else %}<|assistant|> "
    "{% endif %}{{ m['content'] }} <|end|> {% endfor %}"
)
CHAT = TURNS + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
JUDGE = TURNS + "{% if add_generation_prompt %}<|judge|>{% endif %}"
ARCHITECTURES = ("llama", "qwen3")
TINY = Path(__file__).parent / "studies" / "tiny" / "study.yaml"


def tokenizer(template=CHAT):
    ids = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    core = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|judge|>"],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = template
    return made


def model(architecture="llama", seed=0):
    """Two layers of 32, drawn wide, so that different prompts get different replies."""
    words = tokenizer()
    shape = dict(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=128,
        initializer_range=0.3, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    if architecture == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(head_dim=8, **shape)).eval()
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def always(probabilities, **how):
    """A model that gives these words these probabilities, whatever it reads."""
    made = model(**how)
    ids = tokenizer().convert_tokens_to_ids(list(probabilities))
    head = torch.nn.Linear(32, made.config.vocab_size)
    head.weight.data.zero_()
    head.bias.data.fill_(-50.0)
    head.bias.data[ids] = torch.tensor([math.log(p) for p in probabilities.values()])
    made.lm_head = head
    return made


def save(folder, made, template=CHAT):
    """Write a model and the tokenizer to a folder, and return the folder."""
    loading.quiet()
    made.save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


def sentences(draw, number, shortest=1, longest=12):
    """Sentences of words that carry no meaning, of different lengths."""
    words = [word for word in WORDS if word.startswith("w")]
    return [" ".join(draw.choices(words, k=draw.randint(shortest, longest))) for _ in range(number)]


def study(**changes):
    """The tiny study; each change names a field as `training__epochs=1`."""
    values = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    for path, value in changes.items():
        *parents, last = path.split("__")
        here = values
        for parent in parents:
            here = here[parent]
        here[last] = value
    return parse(yaml.safe_dump(values, sort_keys=False))
