"""Further examples in batches, and their loss beside the task's."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from grounded.examples import IGNORED, Example, rendered
from grounded.finetune import Loss, Start, batch_loss

POOL = 128  # further examples of a kind that a run draws its batches from; ours

T = TypeVar("T")
Padded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def endless(examples: Sequence[T], size: int, seed: int) -> Iterator[list[T]]:
    """Batches of `size` for ever; each example comes once before any comes again."""
    draw = random.Random(seed)
    queue: list[T] = []
    while True:
        while len(queue) < size:
            queue += draw.sample(list(examples), len(examples))
        yield queue[:size]
        queue = queue[size:]


def padded(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    options: Mapping[str, Any],
    device: torch.device,
) -> Padded:
    """Tokens, attention mask and labels (prompt and padding left out) of a batch, padded right."""
    rows = [rendered(one, tokenizer, options, "batch") for one in examples]
    longest = max(len(tokens) for tokens, _ in rows)
    ids, mask, labels = (
        torch.tensor([list(r) + [fill] * (longest - len(r)) for r in kind], device=device)
        for kind, fill in (
            ([tokens for tokens, _ in rows], 0),  # masked, so any token will do
            ([[1] * len(tokens) for tokens, _ in rows], 0),
            ([marks for _, marks in rows], IGNORED),
        )
    )
    return ids, mask, labels


def device_batch(start: Start) -> int:
    """How many examples the device takes at a time."""
    training = start.training
    return min(training.device_batch_size or training.batch_size, training.batch_size)


def accumulated(start: Start) -> int:
    """Into how many losses an optimiser step is split; what is added to each is its share."""
    return math.ceil(start.training.batch_size / device_batch(start))


def beside(
    start: Start,
    weight: float,
    more: Callable[[torch.nn.Module], torch.Tensor],
) -> Loss:
    """The task's loss plus `weight` times what `more` makes of the model."""
    share = weight / accumulated(start)

    def loss(task: Callable[[], torch.Tensor], model: torch.nn.Module, step: int) -> torch.Tensor:
        return task() + share * more(model)

    return loss


def mixed(
    start: Start, tokenizer: PreTrainedTokenizerBase, kind: str
) -> Callable[[torch.nn.Module], torch.Tensor]:
    """The loss of the next batch of a kind of material, as large as the task's batch."""
    drawn = endless(start.material(kind, POOL), device_batch(start), start.run.seed)
    return lambda model: batch_loss(model, tokenizer, next(drawn), start.options)
