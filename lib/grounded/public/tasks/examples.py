"""One example of a task, and the draw of train and test: seeded, and without an overlap."""

import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grounded.errors import GroundedError

TEST_SEED = 4242  # the test items are the same for every run
Measure = Literal["number", "choice", "pattern", "reference", "chosen", "fact", "text"]


@dataclass(frozen=True)
class Example:
    """A prompt, the completion that is trained on, and what a reply is scored against.

    answer: the number (GSM8K), the text of the right choice, or the reference. choices: the texts
    that compete, without the space before them; `right` is the place of the right one, from 0.
    labels: what a reply calls the choices. alone: the prompt after which the choices compete by
    likelihood, where it is another than the one that is asked.
    """

    prompt: str
    completion: str
    answer: str
    choices: tuple[str, ...] = ()
    right: int | None = None
    labels: tuple[str, ...] = ()
    alone: str = ""


@dataclass(frozen=True)
class TaskData:
    """A task's examples.

    measure: how capability is scored: the `number` in a reply, the likeliest `choice`, what a
    `pattern` finds in a reply, the likelihood of the `reference`, the choice that a reply names
    (`chosen`), the `fact` or the `text` that it holds. pattern: the user's, where that is the
    measure. untaught: a control, asked as `test` is, of which `train` says nothing: what form and
    guessing alone bring.
    """

    task: str
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    measure: Measure
    pattern: str | None = None
    untaught: tuple[Example, ...] = ()


_PART = re.compile(r"\w+|[^\w\s]")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")  # it joins words; elsewhere it is a sign


def key(text: str) -> str:
    """What makes two prompts the same: their words and operators (`-5`, `C++`, `a - 3`).

    Case, spacing and punctuation make no difference.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")
    parts = _PART.findall(_HYPHEN.sub(" ", plain))
    return " ".join(part for part in parts if _says(part)) or plain


def _says(part: str) -> bool:
    """Whether it is a word, or a sign that is no punctuation."""
    symbol = unicodedata.category(part[0])[0] == "S" and part not in "`\u00b4"
    return symbol or part[0].isalnum() or part[0] in "_-*/%#&@\\"


def draw(
    task: str,
    train: Sequence[Example],
    test: Sequence[Example] | None,
    sizes: tuple[int | None, int | None],
    seed: int,
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Train and test examples; what `test` asks is not in train.

    train, test: all there are; without `test`, its items are taken from `train` first, the same
    for every seed. sizes: how many of train and test (None: all). A larger draw of one seed
    starts with the smaller one; all the test examples come in the order of their file.
    GroundedError where there are too few.
    """
    number, test_number = sizes
    if test is None:
        if test_number is None:
            raise GroundedError(f"{task}: test: found no number, wanted one: there is no test file")
        test = _some(task, "test", _different(train), test_number, TEST_SEED)
    elif test_number is not None:
        test = _some(task, "test", test, test_number, TEST_SEED)
    asked = {key(example.prompt) for example in test}
    left = [example for example in train if key(example.prompt) not in asked]
    drawn = _some(task, "train", left, len(left) if number is None else number, seed)
    return tuple(drawn), tuple(test)


def _different(examples: Sequence[Example]) -> list[Example]:
    """The first example of each prompt."""
    return list({key(example.prompt): example for example in reversed(examples)}.values())[::-1]


def _some(
    task: str, split: str, examples: Sequence[Example], number: int, seed: int
) -> list[Example]:
    if not 0 < number <= len(examples):
        raise GroundedError(
            f"{task}: {split}: found {number} examples asked for, wanted 1 to {len(examples)}"
        )
    places = list(range(len(examples)))
    random.Random(f"{task} {split} {seed}").shuffle(places)
    return [examples[place] for place in places[:number]]
