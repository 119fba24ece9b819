"""A task of the user's own, from JSON Lines: prompt and completion, and an answer or choices."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grounded import paths
from grounded.errors import GroundedError
from grounded.public.files import jsonl_rows, text
from grounded.public.scoring import find
from grounded.public.tasks.examples import Example, TaskData, draw


def load(
    name: str,
    train_file: Path,
    test_file: Path | None,
    seed: int,
    train: int | None = None,
    test: int | None = None,
    pattern: str | None = None,
) -> TaskData:
    """A task from one file, or from a file each for train and test.

    Each line is an object with `prompt`, `completion`, and either `answer` (a text, which
    `pattern` must find in the completion) or `choices` (texts, one of which is the completion);
    all lines are of one kind. pattern: a regular expression; its first group, or all of it, is
    the answer, and its last match counts. Without `test_file`, `test` items are held out.
    GroundedError names file and line of what is broken.
    """
    compiled = _compiled(name, pattern)
    pools = [
        [_example(file, number, row, compiled) for number, row in jsonl_rows(file, FIELDS)]
        for file in (train_file, test_file)
        if file is not None
    ]
    kinds = {bool(example.choices) for pool in pools for example in pool}
    if len(kinds) != 1:
        raise GroundedError(
            f"task {name}: found {'both answer and choices' if kinds else 'no line'}, wanted lines "
            "of one kind: answer, or choices"
        )
    held_out: Sequence[Example] | None = pools[1] if test_file is not None else None
    drawn, items = draw(name, pools[0], held_out, (train, test), seed)
    return TaskData(
        task=name,
        train=drawn,
        test=items,
        measure="choice" if kinds.pop() else "pattern",
        pattern=pattern,
    )


FIELDS = ("prompt", "completion")


def _compiled(name: str, pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise GroundedError(
            f"task {name}: answer pattern: found {pattern!r} ({error}), wanted a regular expression"
        ) from error


def _example(
    file: Path, number: int, row: dict[str, Any], pattern: re.Pattern[str] | None
) -> Example:
    prompt, completion = (text(file, number, name, row[name]) for name in FIELDS)
    where = f"{paths.shown(file)}: line {number}"
    if ("answer" in row) == ("choices" in row):
        found = "both" if "answer" in row else "neither"
        raise GroundedError(f"{where}: found {found} of answer and choices, wanted one of them")
    if "answer" in row:
        answer = text(file, number, "answer", row["answer"])
        if pattern is None:
            raise GroundedError(f"{where}: found an answer and no pattern, wanted a pattern")
        if find(completion, pattern) != answer:
            raise GroundedError(
                f"{where}: answer: found another than the pattern finds in the completion, wanted "
                "the same: a model that learns it would be scored wrong"
            )
        return Example(prompt, completion, answer)
    choices = row["choices"]
    if not isinstance(choices, list) or len(choices) < 2:
        raise GroundedError(
            f"{where}: choices: found {type(choices).__name__}, wanted a list of two or more"
        )
    options = tuple(text(file, number, "choices", option) for option in choices)
    if options.count(completion) != 1:
        raise GroundedError(
            f"{where}: choices: found the completion {options.count(completion)} times, wanted once"
        )
    return Example(prompt, completion, completion, options, options.index(completion))
