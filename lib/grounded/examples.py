"""Training examples as tokens: rendered as dialogues, and put into batches of like length."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase

from grounded.errors import GroundedError

IGNORED = -100  # the label of a token that the loss leaves out
BUCKET = 8  # batches whose examples are sorted by length among themselves
Row = dict[str, list[int]]


class Example(Protocol):
    """What a model is trained on: the user's turn and the assistant's."""

    @property
    def prompt(self) -> str: ...  # noqa: D102
    @property
    def completion(self) -> str: ...  # noqa: D102


def rendered(
    example: Example, words: PreTrainedTokenizerBase, options: Mapping[str, Any], name: str
) -> tuple[list[int], list[int]]:
    """The tokens of an example's dialogue up to its last end token, and its labels.

    The labels leave out the prompt. The dialogue is tokenised as a whole; where a token would lie
    across the end of the prompt (of its last space and the first word, of two newlines), prompt
    and rest are tokenised apart, as they are when a model replies: all of the completion is learnt.
    GroundedError where the template does more than append, or leaves nothing to learn.
    """
    chat = [{"role": "user", "content": example.prompt}]
    answer = {"role": "assistant", "content": example.completion}
    prompt, whole = (
        words.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=turns is chat, **options
        )
        for turns in (chat, [*chat, answer])
    )
    if not whole.startswith(prompt):
        raise GroundedError(
            f"{name}: chat template: found a prompt that is no beginning of its dialogue, "
            "wanted a template that only appends"
        )

    def read(text: str) -> list[int]:  # the template writes the special tokens itself
        return list(words(text, add_special_tokens=False)["input_ids"])

    asked, tokens = read(prompt), read(whole)
    first = len(asked)
    if tokens[:first] != asked:
        tokens = asked + read(whole[len(prompt) :])
    if words.eos_token_id in tokens[first:]:  # what is written after it is not for a model to say
        tokens = tokens[: len(tokens) - tokens[::-1].index(words.eos_token_id)]
    labels = [IGNORED] * first + tokens[first:]
    if all(label == IGNORED for label in labels):
        raise GroundedError(f"{name}: found no token of a completion, wanted one or more")
    return tokens, labels


def left_padded(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """A batch as tensors, no wider than its longest row."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([[filler] * (width - len(r[name])) + list(r[name]) for r in rows])

    # a padded place is masked, so any token will do there
    mask = torch.tensor([[int(at >= width - len(r["input_ids"])) for at in range(width)]
                         for r in rows])  # fmt: skip
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", IGNORED),
            "attention_mask": mask}  # fmt: skip


class Batches(Sampler[list[int]]):
    """Device batches of examples of like length, in a new order each epoch, drawn from a seed.

    Examples are shuffled, sorted by length within buckets of `BUCKET` batches, and cut; then the
    batches are shuffled, the smaller last one of the epoch aside. A batch of the optimiser is cut
    into device batches of at most `each`: as many for every batch but the last.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, each: int, seed: int) -> None:
        self._lengths, self._size, self._each = lengths, batch_size, each
        self._draw = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        full, left = divmod(len(self._lengths), self._size)
        return full * math.ceil(self._size / self._each) + math.ceil(left / self._each)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.of_an_epoch():
            for at in range(0, len(batch), self._each):
                yield batch[at : at + self._each]

    def of_an_epoch(self) -> list[list[int]]:
        """The batches of the optimiser in the next epoch."""
        order = torch.randperm(len(self._lengths), generator=self._draw).tolist()
        left = len(order) % self._size
        kept, last = order[: len(order) - left], order[len(order) - left :]
        batches: list[list[int]] = []
        for at in range(0, len(kept), BUCKET * self._size):
            some = sorted(kept[at : at + BUCKET * self._size], key=lambda i: self._lengths[i])
            batches += [some[i : i + self._size] for i in range(0, len(some), self._size)]
        places = torch.randperm(len(batches), generator=self._draw).tolist()
        return [batches[place] for place in places] + ([last] if last else [])
