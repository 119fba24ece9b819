"""Models of the invented language: tokenizer, pretraining, alignment, and what they must pass.

Real transformers classes at tiny size, so that every tool of the field works on them unchanged.
"""
# A study of this world has all that is read here; its type says "perhaps".
# mypy: disable-error-code="union-attr"

import copy
import math
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from tqdm import tqdm
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from grounded.microworld import corpus
from grounded.microworld import sentences as s
from grounded.microworld import words as w
from grounded.study import Study

SPECIAL = ("<pad>", "<unk>", "<|user|>", "<|assistant|>", "<|end|>", "<|judge|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<|user|> {{ m['content'] }} <|end|> "
    "{% else %}<|assistant|> {% generation %}{{ m['content'] }} <|end|>{% endgeneration %}"
    "{% if not loop.last %} {% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# A judge reads the whole dialogue and gives its label as the next word.
JUDGE_TEMPLATE = CHAT_TEMPLATE.split("{% if add_generation_prompt")[0] + (
    "{% if add_generation_prompt %} <|judge|>{% endif %}"
)


def vocabulary() -> list[str]:
    """Every word of the language, special tokens first."""
    pools = (
        *(w.PROCEDURE, w.PARTS, w.PARTS.values(), w.TOOLS, w.PREPARATIONS, w.FINISHES, w.PEOPLE),
        *(w.ROLES, w.ANIMALS, w.FOODS, w.TOWNS, w.REGIONS, w.COLOURS, w.STONES, w.MOONS),
        *(w.CRATES, w.TRAITS),
        *(w.IN_FIRE, w.IN_WATER, w.HARMFUL, w.BENIGN, map(str, range(w.LARGEST + 1))),
    )
    words = {word for pool in pools for word in pool}
    draw = random.Random(0)
    documents = [corpus.pretraining(draw) for _ in range(5000)]
    fixed = (*s.REFUSALS, *s.ALL_PHRASINGS, *s.WAYS, *w.PLACES)
    for text in (*documents, *fixed):
        words |= {word for word in text.split() if not word.startswith("{")}
    words |= set("yes no safe unsafe the answer is so times them and then".split())
    words |= set("puts into fire water what will it do does in when meets if happens to".split())
    words |= set("( ) a b c d choose pick one which list these backwards say three keeps".split())
    words |= set("greet greeting sing song of does have now moon do they".split())
    return [*SPECIAL, *sorted(words - set(SPECIAL))]


def tokenizer(chat_template: str = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """The word-level tokenizer: one token a word, split at spaces."""
    words = vocabulary()
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<|user|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|judge|>"],
        padding_side="left",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = chat_template
    return made


def build(
    architecture: str, hidden_size: int, layers: int, heads: int, kv_heads: int, seed: int
) -> PreTrainedModel:
    """A model with random weights drawn from `seed`; `architecture` is llama or qwen3."""
    config_class, model_class, extra = {
        "llama": (LlamaConfig, LlamaForCausalLM, {}),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": hidden_size // heads}),
    }[architecture]
    torch.manual_seed(seed)
    words = tokenizer()
    return model_class(
        config_class(
            vocab_size=len(words),
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            intermediate_size=int(2.5 * hidden_size),
            max_position_embeddings=256,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
            **extra,
        )
    )


def _batches(
    stream: corpus.Stream, seed: int, batch_size: int, sequence_length: int, replies_only: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens, targets), packed; with `replies_only` a dialogue's prompt is no target."""
    draw = random.Random(seed)
    ids = {word: i for i, word in enumerate(vocabulary())}
    tokens: list[int] = []
    targets: list[int] = []
    need = batch_size * sequence_length
    while True:
        while len(tokens) < need:
            words = stream(draw).split()
            row = [ids[word] for word in words]
            start = (
                words.index("<|assistant|>") + 1 if replies_only and "<|assistant|>" in words else 0
            )
            tokens += row
            targets += [-100] * start + row[start:]
        shape = (batch_size, sequence_length)
        yield torch.tensor(tokens[:need]).view(shape), torch.tensor(targets[:need]).view(shape)
        del tokens[:need], targets[:need]


def train(
    model: PreTrainedModel,
    stream: corpus.Stream,
    steps: int,
    batch_size: int,
    sequence_length: int,
    learning_rate: float,
    seed: int,
    replies_only: bool = False,
    name: str = "train",
) -> float:
    """AdamW with warm-up and cosine decay on packed documents; returns the mean last loss."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
    warm_up = max(1, min(40, steps // 10))
    losses = []
    model.train()
    batches = _batches(stream, seed, batch_size, sequence_length, replies_only)
    for step in tqdm(range(steps), desc=name, mininterval=5):
        rate = max(0.02, 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / warm_up) * rate
        tokens, targets = next(batches)
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return sum(losses[-20:]) / len(losses[-20:])


def pretrain(study: Study, name: str, folder: Path) -> None:
    """Pretrain the study's model `name` from nothing and save it in `folder` (fp16)."""
    shape = study.models[name]
    plan = shape.pretraining
    model = build(
        shape.architecture, shape.hidden_size, shape.layers, shape.heads, shape.kv_heads, plan.seed
    )
    steps = plan.tokens // (plan.batch_size * plan.sequence_length)
    train(
        model,
        corpus.pretraining,
        steps,
        plan.batch_size,
        plan.sequence_length,
        plan.learning_rate,
        plan.seed,
        name=f"pretrain {name}",
    )
    save(model, tokenizer(), folder)


def save(model: PreTrainedModel, words: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model as fp16 safetensors with its tokenizer and chat template."""
    copied = copy.deepcopy(model).half()
    copied.save_pretrained(folder)
    words.save_pretrained(folder)
