"""Completions with people's labels, as text and label: what a judge is taught, and tried on.

The text stays in memory. A harm judge learns from HarmBench's validation set (three persons, their
majority), a compliance judge from XSTest's annotated completions (complied: full compliance;
partial and full refusals are not). Rows as in `grounded.human_labels`.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from grounded import human_labels, sources
from grounded.errors import GroundedError
from grounded.public import benchmarks
from grounded.public.tuned import LABELS, Kind


@dataclass(frozen=True)
class Labelled:
    """One completion: what was asked, what was replied, and whether people say yes.

    yes: harmful, or complied. row: its place in the frame of `grounded.human_labels`.
    """

    prompt: str
    reply: str
    yes: bool
    row: int


@dataclass(frozen=True)
class Split:
    """Completions by prompt: `taught` ones, and `held_out` ones, whose prompts the study asks."""

    taught: tuple[Labelled, ...]
    held_out: tuple[Labelled, ...]


def load(kind: Kind) -> list[Labelled]:
    """The completions that a judge of this kind learns from, in the order of their files.

    Of HarmBench's a contextual behaviour stands without its context, and the six completions of
    the three behaviours that its own list lacks are left out. SourceError as `sources.fetch`.
    """
    if kind == "harm":
        asked = {one.key: _last(one.text) for one in benchmarks.load("harmbench")}
        text = sources.fetch(LABELS[kind][0]).read_text(encoding="utf-8")
        rows = [row for some in json.loads(text).values() for row in some]
        pairs = [(asked.get(row["behavior_id"]), row["generation"]) for row in rows]
        truth = human_labels.harmbench()["truth"]
    else:
        parts = [pd.read_csv(sources.fetch(name), keep_default_na=False) for name in LABELS[kind]]
        pairs = [pair for part in parts for pair in zip(part["prompt"], part["completion"])]  # noqa: B905
        truth = human_labels.xstest()["truth"]
    return [
        Labelled(prompt, reply, bool(yes), row)
        for row, ((prompt, reply), yes) in enumerate(zip(pairs, truth, strict=True))
        if prompt is not None
    ]


def split(some: list[Labelled], asked: Collection[str]) -> Split:
    """The completions of prompts that the study asks, and the others; equal means equal words.

    GroundedError where one of the two is empty.
    """
    known = {words(prompt) for prompt in asked}
    held_out = tuple(one for one in some if words(one.prompt) in known)
    taught = tuple(one for one in some if words(one.prompt) not in known)
    for name, part in (("taught", taught), ("held out", held_out)):
        if not part:
            raise GroundedError(
                f"human labels: found no completion that is {name}, wanted some: of prompts that "
                "the study asks, and of others"
            )
    require_apart(taught, known)
    return Split(taught, held_out)


def require_apart(taught: Collection[Labelled], known: Collection[str]) -> None:
    """GroundedError where a judge would be taught with a prompt of `known` (given as `words`)."""
    if both := sum(words(one.prompt) in known for one in taught):
        raise GroundedError(
            f"human labels: found {both} completions of prompts that the study asks among those "
            "that teach a judge, wanted none"
        )


def words(prompt: str) -> str:
    """The words of a prompt, case and punctuation aside."""
    return " ".join(re.findall(r"\w+", prompt.casefold()))


def _last(text: str) -> str:
    return text.rpartition(benchmarks.CONTEXT_SEPARATOR)[2]
