"""Prompts that stand in more than one benchmark, and so are one observation, not two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from grounded.public.benchmarks import Prompt
from grounded.public.tasks.examples import key


@dataclass(frozen=True)
class Shared:
    """Prompts that two benchmarks have in common, by id: pairs (in the first, in the second)."""

    first: str
    second: str
    ids: tuple[tuple[int, int], ...]


def shared(benchmarks: Mapping[str, Sequence[Prompt]]) -> list[Shared]:
    """What each two benchmarks share; equal means the same `key`: words and operators.

    To be asked before anything is called an effect "across benchmarks": a prompt that stands in
    two of them is one observation. Benchmarks that share nothing have no row.
    """
    found = []
    for first, second in combinations(benchmarks, 2):
        places: dict[str, list[int]] = {}
        for prompt in benchmarks[second]:
            places.setdefault(key(prompt.text), []).append(prompt.id)
        ids = tuple(
            (prompt.id, other)
            for prompt in benchmarks[first]
            for other in places.get(key(prompt.text), [])
        )
        if ids:
            found.append(Shared(first, second, ids))
    return found
