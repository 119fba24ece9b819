"""The shape of a language model, and the work that it takes: operations and bytes, counted.

A product of a row of m numbers with an m x n matrix is counted as 2 m n operations. So a forward
pass takes 2 operations a token for each weight that is in a matrix product (Kaplan et al. 2020,
arXiv 2001.08361, section 2.1), and attention takes 4 for each place looked at, head and head
dimension: scores and weighted sum (as Chowdhery et al. 2022, arXiv 2204.02311, appendix B). Of
this half is counted, as Dao 2023 does (arXiv 2307.08691, section 4.1): attention looks only at
what came before. Not counted: norms, activations, and what checkpointing computes again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from grounded import paths
from grounded.errors import GroundedError


@dataclass(frozen=True)
class Shape:
    """A Llama: its widths and numbers; `inner` is the width of the feed-forward layers."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    tied: bool

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's matrices: q, k, v, o, gate, up, down."""
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        return (
            (self.hidden, query), (self.hidden, key), (self.hidden, key), (query, self.hidden),
            (self.hidden, self.inner), (self.hidden, self.inner), (self.inner, self.hidden),
        )  # fmt: skip

    @property
    def multiplied(self) -> int:
        """Weights that a token is multiplied with: all layers' matrices and the output head."""
        layer = sum(inputs * outputs for inputs, outputs in self.matrices)
        return self.layers * layer + self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights: with the embedding, where it is not the head's own, and the norms."""
        embedding = 0 if self.tied else self.vocabulary * self.hidden
        return self.multiplied + embedding + (2 * self.layers + 1) * self.hidden


# the released config.json of meta-llama/Llama-3.1-8B
LLAMA_3_1_8B = Shape(
    vocabulary=128256, hidden=4096, layers=32, heads=32, kv_heads=8, head_size=128, inner=14336,
    tied=False,
)  # fmt: skip
TINY = Shape(
    vocabulary=100, hidden=32, layers=2, heads=4, kv_heads=2, head_size=8, inner=64, tied=False
)


_FIELDS = {
    "vocabulary": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "kv_heads": "num_key_value_heads",
    "head_size": "head_dim", "inner": "intermediate_size",
}  # fmt: skip


def read(file: Path) -> Shape:
    """The shape in a model's config.json: a Llama's, or that of a model built alike.

    GroundedError for a file that is missing, is no JSON or lacks a width.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        line = f"{paths.shown(file)}: found no JSON ({type(error).__name__}), wanted a config.json"
        raise GroundedError(line) from error
    if not config.get("head_dim") and config.get("num_attention_heads"):
        config["head_dim"] = config.get("hidden_size", 0) // config["num_attention_heads"]
    for name in _FIELDS.values():
        if not isinstance(config.get(name), int) or config[name] < 1:
            raise GroundedError(
                f"{paths.shown(file)}: {name}: found {config.get(name)!r}, wanted 1 or more"
            )
    widths = {field: config[name] for field, name in _FIELDS.items()}
    return Shape(**widths, tied=bool(config.get("tie_word_embeddings")))


def lora_parameters(shape: Shape, rank: int) -> int:
    """Weights of LoRA of that rank on every matrix of every layer, but not on the head."""
    return shape.layers * sum(rank * (inputs + outputs) for inputs, outputs in shape.matrices)


def lora_training_flops(shape: Shape, rank: int, length: int) -> float:
    """Operations for each token of LoRA training on sequences of `length` tokens.

    Frozen weights take 2 forward and 2 backward, for they need no gradient of their own, where
    trained ones take 2 and 4; attention takes twice as many backward as forward.
    """
    attention = shape.layers * shape.heads * shape.head_size * 4 * (length / 2)
    return 4 * shape.multiplied + 6 * lora_parameters(shape, rank) + 3 * attention


def generation_bytes(shape: Shape, batch: int, prompt: int, new: int, size: int) -> float:
    """Bytes that must be read to write `new` tokens after a prompt, for a batch of rows.

    size: bytes of a number. Every step reads all weights that a token is multiplied with, and
    for each row the keys and values of all places before: prompt + 0 to prompt + new - 1.
    """
    places = batch * (prompt * new + new * (new - 1) / 2)
    cache = 2 * shape.layers * shape.kv_heads * shape.head_size * places
    return size * (new * shape.multiplied + cache)
