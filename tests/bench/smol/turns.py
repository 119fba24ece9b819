"""Ways to do the same work, measured by turns in one process: what each yields a CPU-second."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

Turn = Callable[[], float]  # does the work, and gives its rate


class LeftOutError(Exception):
    """A comparison that cannot be made here: why, and what it needs."""


@dataclass(frozen=True)
class Sizes:
    """How much work a turn is."""

    turns: int = 3  # the first also warms up
    prompts: int = 80  # one batch of the study
    alone: int = 16  # of them, asked one by one
    new_tokens: int | None = None  # of a reply; None: as the study says
    examples: int = 32
    items: int = 80
    verdicts: int = 96
    pairs: int = 64


TINY = Sizes(turns=1, prompts=4, alone=1, new_tokens=6, examples=8, items=3, verdicts=4, pairs=4)


@dataclass(frozen=True)
class Rates:
    """So many units a CPU-second, each way; the first way is this project's."""

    unit: str
    found: Mapping[str, list[float]]

    def lines(self) -> Iterator[str]:
        """The first way beside each other, by the middle one of its turns."""
        (ours, first), *others = ((n, statistics.median(v)) for n, v in self.found.items())
        for theirs, second in others:
            ratio = f"{first / second:.2f} times {theirs} ({second:.3g})"
            yield f"{ours}: {first:.3g} {self.unit} a CPU-second, {ratio}"


def by_turns(ways: Mapping[str, Turn], unit: str, turns: int) -> Rates:
    """The rate of each way, measured so many times, one after the other."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, turn in ways.items():
            found[name].append(turn())
            print(f"  {name}: {found[name][-1]:.3g} {unit} a CPU-second", flush=True)
    return Rates(unit, found)


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU time that the work takes in this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun
