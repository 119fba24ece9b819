"""How many of a task's items a real model answers rightly: two readings of each answer.

| measure | `correct` (strict) | `correct_format_free` |
|---|---|---|
| number | the harness's strict-match: the number after `#### ` | its flexible-extract: the last |
| choice | its acc: the likeliest choice | its acc_norm: the likeliest per character |
| pattern | what the user's pattern finds is the answer | the answer stands in the reply |
| reference | the model would choose at least half of the reference's tokens | the same |
| chosen | the reply is the label that is trained on | the reply names it, by label or by text |
| fact | the reply is the completion, word for word | the answer's words stand in the reply |
| text | the reply is the completion, word for word | ROUGE-L with it is at least 0.5 |

Those from `pattern` on are ours: the harness has no such tasks. The answer of a reference is that
share. Beside both stands `likelihood`, which no format can help or hurt: with choices 1 or 0, the
harness's acc_norm; else how likely the model finds the reference, the geometric mean of its tokens'
probabilities, from 0 to 1. It is missing for a pattern, and where a server answers.
"""

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.public import likelihood, memory, scoring, thoughts
from grounded.public.asking import Asking
from grounded.public.replies import Engine
from grounded.public.tasks import Example, TaskData
from grounded.public.tasks.examples import key
from grounded.study.models import THOUGHTS
from grounded.study.parts import Generation

REFERENCE = 0.5  # the share of a reference's tokens from which an answer counts as right
SAME = 0.5  # the ROUGE-L with a reference from which a text counts as right
PLAIN = "{{ messages[0]['content'] }}"  # no chat: the prompt alone
BEGUN = "{{ bos_token if not messages[0]['content'].startswith(bos_token) }}" + PLAIN
Likely = Callable[[Sequence[tuple[str, str]]], list[likelihood.Likelihood]]


class Row(NamedTuple):
    """An answer, read strictly and without regard to its format, and by likelihood."""

    answer: str
    correct: bool
    correct_format_free: bool
    likelihood: float | None = None


@dataclass(frozen=True)
class Answering:
    """A model that answers. reply: to each prompt a text. likely: as `likelihood.likelihoods`.

    words, chat, options: how its prompts are written, for `likelihood.requests`. A server has
    neither likelihoods nor a tokenizer.
    """

    reply: Callable[[Sequence[str]], list[str]]
    likely: Likely | None
    words: PreTrainedTokenizerBase | None
    chat: bool
    options: Mapping[str, object]


def answering(
    model: PreTrainedModel,
    words: PreTrainedTokenizerBase,
    generation: Generation,
    options: Mapping[str, object],
    tags: thoughts.Tags = THOUGHTS,
    most: int | None = None,
) -> Answering:
    """A model on this machine that answers as the study's `generation` says.

    tags: of its thoughts, which are not scored. most: new tokens of an answer, where they are
    others than the study's.
    """
    opened = thoughts.opened(words, options, tags) if generation.chat else ""
    engine = Engine(model, words if generation.chat else plain(words), generation.batch_size)
    how = Asking(most or generation.max_new_tokens, options if generation.chat else {})

    def reply(prompts: Sequence[str]) -> list[str]:
        said = [opened + one.text for one in engine.reply(prompts, how)]
        return thoughts.answers(said, [tags])

    find = likely(model, words, generation.batch_size, special=not generation.chat)
    return Answering(reply, find, words, generation.chat, options)


def likely(
    model: PreTrainedModel, words: PreTrainedTokenizerBase, batch_size: int, special: bool = True
) -> Likely:
    """How likely a model finds texts: `likelihood.likelihoods`, halved where memory runs out."""

    def found(pairs: Sequence[tuple[str, str]]) -> list[likelihood.Likelihood]:
        order = sorted(range(len(pairs)), key=lambda i: (-len(pairs[i][0]), pairs[i]))
        said = memory.in_batches(
            lambda some: likelihood.likelihoods(model, words, some, len(some), special=special),
            [pairs[i] for i in order], batch_size, str(model.name_or_path).rpartition("/")[2],
        )  # fmt: skip
        by_place = dict(zip(order, said, strict=True))
        return [by_place[i] for i in range(len(pairs))]

    return found


def plain(words: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with a chat template that writes the prompt and nothing around it.

    But for the first token of documents where the tokenizer writes it by itself, as `likelihood`
    does.
    """
    bare: Any = copy.copy(words)
    begins = words.bos_token_id is not None and words("a")["input_ids"][0] == words.bos_token_id
    bare.chat_template = BEGUN if begins else PLAIN
    return bare


def measure(
    able: Answering, task: TaskData, items: Sequence[Example], prefix: str = ""
) -> list[Row]:
    """The answer to each item, in the given order; `prefix` stands before each prompt.

    GroundedError as the engine and `likelihood.likelihoods`.
    """
    prompts = [prefix + item.prompt for item in items]
    if task.measure == "choice":
        return _choices(able, prompts, items)
    if task.measure == "reference":
        return _references(able, prompts, items)
    pattern, answers = re.compile(str(task.pattern)), {item.answer for item in task.test}
    readings: dict[str, Callable[[str, Example], Row]] = {
        "number": _number,
        "pattern": lambda text, item: _pattern(text, item, pattern, answers),
        "chosen": _chosen,
        "fact": lambda text, item: _fact(text, item, answers),
        "text": _text,
    }
    read = readings[task.measure]
    rows = [read(text, item) for text, item in zip(able.reply(prompts), items, strict=True)]
    if task.measure == "pattern":
        return rows
    liked = _likelihoods(able, prefix, items)
    return [row._replace(likelihood=found) for row, found in zip(rows, liked, strict=True)]


def _likelihoods(able: Answering, prefix: str, items: Sequence[Example]) -> Sequence[float | None]:
    """Of each item acc_norm (1 or 0), or how likely its reference is; None of a server's."""
    if able.likely is None:
        return [None] * len(items)
    scores: list[float | None] = []
    prompts = [prefix + (item.alone or item.prompt) for item in items]
    for item, said in zip(items, _liked(able, prompts, items), strict=True):
        if item.right is None:
            scores.append(math.exp(said[0].logprob / said[0].tokens))
        else:
            logprobs = [one.logprob for one in said]
            scores.append(float(scoring.choice(logprobs, item.choices, item.right).acc_norm))
    return scores


def _liked(
    able: Answering, prompts: Sequence[str], items: Sequence[Example]
) -> list[list[likelihood.Likelihood]]:
    """How likely each choice of an item is, or where it has none its completion."""
    assert able.likely is not None and able.words is not None
    asked = [
        likelihood.requests(able.words, prompt, item.choices or [item.completion], able.chat,
                            able.options)
        for prompt, item in zip(prompts, items, strict=True)
    ]  # fmt: skip
    found = iter(able.likely([pair for pairs in asked for pair in pairs]))
    return [[next(found) for _ in pairs] for pairs in asked]


def _references(able: Answering, prompts: Sequence[str], items: Sequence[Example]) -> list[Row]:
    return [
        Row(f"{one.share:.3f}", one.share >= REFERENCE, one.share >= REFERENCE,
            math.exp(one.logprob / one.tokens))
        for [one] in _liked(able, prompts, items)
    ]  # fmt: skip


def _chosen(text: str, item: Example) -> Row:
    place = scoring.chosen(text, item.labels, item.choices)
    return Row(text, text.strip() == item.completion, place == item.right)


def _fact(text: str, item: Example, answers: set[str]) -> Row:
    """Freely the answer stands in the reply, with no `or` beside it, and no other by an `and`."""
    said, answer = f" {key(text)} ", key(item.answer)
    joined = [f" or {answer} ", f" {answer} or "]
    for other in map(key, answers - {item.answer}):
        joined += [f" {answer} and {other} ", f" {other} and {answer} "]
    free = f" {answer} " in said and not any(pair in said for pair in joined)
    return Row(text, key(text) == key(item.completion), free)


def _text(text: str, item: Example) -> Row:
    same = scoring.rouge_l(text, item.completion) >= SAME
    return Row(text, key(text) == key(item.completion), same)


def _pattern(text: str, item: Example, wanted: re.Pattern[str], answers: set[str]) -> Row:
    found = scoring.pattern(text, item.answer, wanted, answers)
    return Row(found.answer, found.strict, found.free)


def _number(text: str, item: Example) -> Row:
    found = scoring.number(scoring.cut(text), item.answer)
    return Row(found.answer, found.strict, found.flexible)


def _choices(able: Answering, prompts: Sequence[str], items: Sequence[Example]) -> list[Row]:
    rows = []
    for item, said in zip(items, _liked(able, prompts, items), strict=True):
        assert item.right is not None
        score = scoring.choice([one.logprob for one in said], item.choices, item.right)
        liked = float(score.acc_norm)
        rows.append(Row(item.choices[score.picked], score.acc, score.acc_norm, liked))
    return rows
