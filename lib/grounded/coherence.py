"""Is this reply language at all? Asked without the grammar, so that it could be asked of any model.

A reply is coherent when the pretrained model of its run does not find it surprising, when it does
not repeat itself, and when it is not too short. What counts as surprising is a quantile of what
the base model's own replies score; the rule is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError

BATCH = 256
IGNORED = -100  # PyTorch's mark of a target that is left out


@dataclass(frozen=True)
class Scored:
    """One detector's opinion of each text: its score (None where it has none), and its label."""

    score: NDArray[np.float64] | None
    coherent: NDArray[np.bool_]


def detect(
    texts: Sequence[str],
    lengths: Sequence[int],
    surprise: NDArray[np.float64],
    threshold: float,
    repetition: float,
    shortest: int,
) -> dict[str, Scored]:
    """The detectors `perplexity`, `repetition` and `combined`, each with its label of every text.

    `lengths` are the replies' tokens, `surprise` is their `mean_nll` in nats, and `threshold` the
    most of it that is coherent; `repetition` is the largest share of repeated trigrams that is.
    """
    repeated = np.array([repeated_trigrams(text) for text in texts], dtype=float)
    expected = surprise <= threshold  # False where there is no score
    varied = repeated <= repetition
    long_enough = np.asarray(lengths) >= shortest
    return {
        "perplexity": Scored(surprise, expected),
        "repetition": Scored(repeated, varied),
        "combined": Scored(None, expected & varied & long_enough),
    }


def threshold(reference: NDArray[np.float64], quantile: float) -> float:
    """The quantile (0..1) of reference scores in nats; GroundedError where none is a number."""
    known = reference[np.isfinite(reference)]
    if not len(known):
        raise GroundedError("coherence: reference scores: found none, wanted at least one reply")
    return float(np.quantile(known, quantile))


def repeated_trigrams(text: str) -> float:
    """The share (0..1) of a text's word trigrams that stood in it before; 0 below three words."""
    words = text.split()
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def mean_nll(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> NDArray[np.float64]:
    """The mean negative log-likelihood of each text's tokens, in nats (log perplexity).

    Each text stands alone after the end token, as documents do in pretraining; what it replied to
    is not shown. NaN for a text without tokens. Equal texts are scored once. GroundedError when
    the model gives logits that are not numbers.
    """
    start = tokenizer.eos_token_id
    rows = {
        text: [start, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        for text in dict.fromkeys(texts)
    }
    order = sorted((t for t in rows if len(rows[t]) > 1), key=lambda t: (len(rows[t]), t))
    scores = dict.fromkeys(rows, float("nan"))
    for first in range(0, len(order), BATCH):
        some = order[first : first + BATCH]
        scores.update(zip(some, _nll(model, [rows[text] for text in some]), strict=True))
    return np.array([scores[text] for text in texts], dtype=float)


@torch.inference_mode()
def _nll(model: PreTrainedModel, rows: list[list[int]]) -> list[float]:
    longest = max(map(len, rows))
    device = model.device
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[:, :-1]
    if logits[mask[:, 1:]].isnan().any():
        raise GroundedError(f"{model.name_or_path}: logits: found NaN, wanted numbers")
    targets = ids[:, 1:].masked_fill(~mask[:, 1:], IGNORED)
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    means: list[float] = (losses.double().sum(1) / (lengths - 1)).tolist()
    return means
