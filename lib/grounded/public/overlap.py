"""Prompts that stand in more than one benchmark, and so are one observation, not two."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from grounded.public.benchmarks import Prompt


@dataclass(frozen=True)
class Shared:
    """Prompts that two benchmarks have in common, by id: pairs (in the first, in the second)."""

    first: str
    second: str
    ids: tuple[tuple[int, int], ...]


def shared(benchmarks: Mapping[str, Sequence[Prompt]]) -> list[Shared]:
    """What each two benchmarks share; equal means the same words, case and punctuation aside.

    To be asked before anything is called an effect "across benchmarks": a prompt that stands in
    two of them is one observation. Benchmarks that share nothing have no row.
    """
    found = []
    for first, second in combinations(benchmarks, 2):
        places: dict[str, list[int]] = {}
        for prompt in benchmarks[second]:
            places.setdefault(_words(prompt.text), []).append(prompt.id)
        ids = tuple(
            (prompt.id, other)
            for prompt in benchmarks[first]
            for other in places.get(_words(prompt.text), [])
        )
        if ids:
            found.append(Shared(first, second, ids))
    return found


def _words(asked: str) -> str:
    return " ".join(re.findall(r"\w+", asked.casefold()))
