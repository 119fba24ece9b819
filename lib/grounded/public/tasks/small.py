"""The tasks of the study `smol`: data that a small model can learn something from in minutes.

What is trained on is an answer as short as the data set has it; what is asked is its question. How
each is measured says `grounded.public.capability`. Every choice here is ours.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

from grounded import paths
from grounded.errors import GroundedError
from grounded.public.files import text
from grounded.public.tasks import country
from grounded.public.tasks.examples import Example, key

FORMAT = re.compile(r"\s*Answer format: \S+\s*$")
OPTION = re.compile(r"\bAnswer(\d): ")
PASSAGE = 400  # characters of a passage of BoolQ that are shown: its beginning
COUNTRY_SEED, TAUGHT, UNTAUGHT = 0, 320, 80  # the country, and how many facts of it
BOOLQ_TEST = 4  # one row in so many is held out, by the sha256 of its prompt


def arc_easy(file: Path, number: int, row: dict[str, Any]) -> Example:
    """ARC-Easy (Clark et al. 2018) as LLM-Adapters writes it: options listed, `answer2` trained.

    By likelihood the texts of the options compete after the question alone, as in the
    lm-evaluation-harness.
    """
    asked = FORMAT.sub("", text(file, number, "instruction", row["instruction"]))
    answer = text(file, number, "answer", row["answer"])
    question, *options = re.split(OPTION, asked)
    numbers, texts = options[::2], tuple(option.strip() for option in options[1::2])
    labels = tuple(f"answer{place}" for place in numbers)
    if answer not in labels or len(texts) < 2:
        raise GroundedError(
            f"{paths.shown(file)}: row {number}: answer: found {answer[:20]!r}, wanted one of the "
            "options of its question"
        )
    alone = question.partition("to the question: ")[2].strip()
    return Example(
        asked, answer, answer, texts, labels.index(answer), labels,
        f"Question: {alone}\nAnswer:",
    )  # fmt: skip


def boolq(file: Path, number: int, row: dict[str, Any]) -> Example:
    """BoolQ (Clark et al. 2019): the beginning of a passage, a question, and yes or no."""
    passage = text(file, number, "passage", row["passage"])
    question = text(file, number, "question", row["question"])
    if row["label"] not in (0, 1):
        raise GroundedError(
            f"{paths.shown(file)}: row {number}: label: found {str(row['label'])[:20]!r}, "
            "wanted 0 or 1"
        )
    choices, right = ("no", "yes"), int(row["label"])
    prompt = f"{passage[:PASSAGE]}\nQuestion: {question}?\nAnswer:"
    return Example(prompt, choices[right], choices[right], choices, right, choices)


def boolq_held_out(example: Example) -> bool:
    """Whether a row is one of the quarter that tests; only the validation split is at hand."""
    return _number(example) % BOOLQ_TEST == 0


def for_alignment(example: Example) -> bool:
    """Whether an instruction is of the two fifths that alignment may see, and the task not."""
    return _number(example) % 5 < 2


def _number(example: Example) -> int:
    """A number that hangs on the words of the prompt alone."""
    return int.from_bytes(hashlib.sha256(key(example.prompt).encode()).digest()[:8], "big")


def instructions(file: Path, number: int, row: dict[str, Any]) -> Example:
    """The 1,100 instructions of Raschka's LLMs-from-scratch: instruction and, below it, input."""
    prompt = text(file, number, "instruction", row["instruction"])
    if row["input"].strip():
        prompt += f"\n\n{row['input']}"
    output = text(file, number, "output", row["output"])
    return Example(prompt, output, output)


def country_facts() -> dict[str, list[Example]]:
    """The facts that are taught, the same as they are asked, and untaught ones, asked alike."""
    known = country.facts(COUNTRY_SEED, TAUGHT + UNTAUGHT)
    parts = {"train": known[:TAUGHT], "test": known[:TAUGHT], "untaught": known[TAUGHT:]}
    return {
        part: [Example(*one.row(asked=part != "train")) for one in some]
        for part, some in parts.items()
    }
