"""How many of a task's items a real model answers rightly: two readings of each answer.

| measure | `correct` (strict) | `correct_format_free` |
|---|---|---|
| number | the harness's strict-match: the number after `#### ` | its flexible-extract: the last |
| choice | its acc: the likeliest choice | its acc_norm: the likeliest per character |
| pattern | what the user's pattern finds is the answer | the answer stands in the reply |
| reference | the model would choose at least half of the reference's tokens | the same |

The last two are ours: the harness has no such tasks. The answer of a reference is that share.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError
from grounded.public import likelihood, memory, scoring, thoughts
from grounded.public.asking import Asking
from grounded.public.replies import Engine
from grounded.public.tasks import Example, TaskData
from grounded.study.models import THOUGHTS
from grounded.study.parts import Generation

REFERENCE = 0.5  # the share of a reference's tokens from which an answer counts as right
PLAIN = "{{ messages[0]['content'] }}"  # no chat: the prompt alone
BEGUN = "{{ bos_token if not messages[0]['content'].startswith(bos_token) }}" + PLAIN
Likely = Callable[[Sequence[tuple[str, str]]], list[likelihood.Likelihood]]


class Row(NamedTuple):
    """An answer, read strictly and without regard to its format."""

    answer: str
    correct: bool
    correct_format_free: bool


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
) -> Answering:
    """A model on this machine that answers as the study's `generation` says.

    tags: of its thoughts, which are not scored.
    """
    opened = thoughts.opened(words, options, tags) if generation.chat else ""
    engine = Engine(model, words if generation.chat else plain(words), generation.batch_size)
    how = Asking(generation.max_new_tokens, options if generation.chat else {})

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
        order = sorted(range(len(pairs)), key=lambda i: -len("".join(pairs[i])))
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
    if task.measure == "number":
        return [_number(text, item) for text, item in zip(able.reply(prompts), items, strict=True)]
    if task.measure == "pattern":
        pattern, answers = re.compile(str(task.pattern)), {item.answer for item in task.test}
        said = zip(able.reply(prompts), items, strict=True)
        scores = [scoring.pattern(text, item.answer, pattern, answers) for text, item in said]
        return [Row(one.answer, one.strict, one.free) for one in scores]
    if task.measure == "choice":
        return _choices(able, prompts, items)
    if task.measure != "reference":
        raise GroundedError(f"{task.task}: measure: found {task.measure!r}, wanted a known one")
    assert able.likely is not None and able.words is not None
    asked = [
        likelihood.requests(able.words, prompt, [item.completion], able.chat, able.options)[0]
        for prompt, item in zip(prompts, items, strict=True)
    ]
    shares = [found.share for found in able.likely(asked)]
    return [Row(f"{share:.3f}", share >= REFERENCE, share >= REFERENCE) for share in shares]


def _number(text: str, item: Example) -> Row:
    found = scoring.number(scoring.cut(text), item.answer)
    return Row(found.answer, found.strict, found.flexible)


def _choices(able: Answering, prompts: Sequence[str], items: Sequence[Example]) -> list[Row]:
    assert able.likely is not None and able.words is not None
    asked = [
        likelihood.requests(able.words, prompt, item.choices, able.chat, able.options)
        for prompt, item in zip(prompts, items, strict=True)
    ]
    found = iter(able.likely([pair for pairs in asked for pair in pairs]))
    rows = []
    for item, pairs in zip(items, asked, strict=True):
        assert item.right is not None
        logprobs = [next(found).logprob for _ in pairs]
        score = scoring.choice(logprobs, item.choices, item.right)
        rows.append(Row(item.choices[score.picked], score.acc, score.acc_norm))
    return rows
