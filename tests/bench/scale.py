"""What the figures cost at the size of the paper's grid: time and memory over generated tables.

`python -m bench.scale` makes tables of a tenth, a third and the whole of the size in a
scratch folder (see `generated`), and draws every figure notebook that reads tables on each: two
processes, each of which takes notebook after notebook and imports what they use once. CPU time is
told beside wall time, which others' work lengthens.
"""

import argparse
import ast
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from bench import generated
from bench.generated import NAME, Size
from grounded import fingerprint, paths
from grounded.errors import GroundedError
from workflow import notebooks

SHARES = (0.1, 1 / 3, 1.0)
CORES = 2
SECONDS, MEMORY = 60, 4 * 2**30  # what all figures together may take, on two cores


@dataclass(frozen=True)
class Cost:
    """One notebook: seconds of wall clock and of CPU, all threads.

    process: which drew it. peak: the most bytes that it has held so far.
    """

    notebook: str
    wall: float
    cpu: float
    process: int
    peak: int


@dataclass(frozen=True)
class Point:
    """All notebooks on tables of one size; wall and cpu from the processes' start to their end."""

    size: Size
    made: float
    wall: float
    cpu: float
    costs: tuple[Cost, ...]

    @property
    def peak(self) -> int:
        """Bytes that were held at once, at most: as if all processes had their peaks together."""
        most: dict[int, int] = {}
        for cost in self.costs:
            most[cost.process] = max(cost.peak, most.get(cost.process, 0))
        return sum(most.values())


def reading() -> list[str]:
    """The figure notebooks that read a study's tables."""
    return [
        name for name in notebooks.figure_notebooks()
        if any(re.search(r"tables\.(?!acceptance)", cell)
               for cell in fingerprint.cells(paths.notebook(name)))
    ]  # fmt: skip


def draw(name: str) -> None:
    """Execute a notebook's cells in this process, on the generated study."""
    names: dict[str, object] = {}
    for cell in fingerprint.cells(paths.notebook(name)):
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if isinstance(names.get("study"), str):
            names["study"] = NAME
        if isinstance(last, ast.Expr):
            eval(compile(ast.Expression(last.value), name, "eval"), names)


def measure(size: Size, names: Sequence[str], compiled: Path) -> Point:
    """Make the tables in a folder that goes with this call, and draw the notebooks from them.

    compiled: a folder for compiled modules, which an installed Python keeps from run to run.
    GroundedError for a notebook that fails.
    """
    with tempfile.TemporaryDirectory(prefix="generated-") as scratch:
        about = {"GROUNDED_HOME": scratch, "PYTHONPYCACHEPREFIX": str(compiled)}
        with _environment(about, without="PYTHONDONTWRITEBYTECODE"):
            began = time.perf_counter()
            generated.write(generated.study(size))
            made = time.perf_counter() - began
            began, used = time.perf_counter(), _seconds(resource.RUSAGE_CHILDREN)
            spawn = multiprocessing.get_context("spawn")  # a process that has imported nothing yet
            with ProcessPoolExecutor(CORES, mp_context=spawn) as pool:
                costs = tuple(pool.map(_cost, names))
            wall, cpu = time.perf_counter() - began, _seconds(resource.RUSAGE_CHILDREN) - used
        return Point(size, made, wall, cpu, costs)


def _cost(name: str) -> Cost:
    began, used = time.perf_counter(), _seconds(resource.RUSAGE_SELF)
    try:
        draw(name)
    except Exception as error:
        raise GroundedError(f"{name}: found {error!r}, wanted a figure") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(
        name, time.perf_counter() - began, _seconds(resource.RUSAGE_SELF) - used, os.getpid(),
        peak * (1 if sys.platform == "darwin" else 1024),
    )  # fmt: skip


def _seconds(whose: int) -> float:
    """Seconds of CPU, user and system, of this process or of those that it started."""
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


@contextmanager
def _environment(values: Mapping[str, str], without: str) -> Iterator[None]:
    """Some variables set and one unset, here and in processes that are started; then as before."""
    before = dict(os.environ)
    os.environ.update(values)
    os.environ.pop(without, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def table(points: Sequence[Point]) -> str:
    """The points as lines, how the time grows from each to the next, and the bars."""
    lines = [f"{'verdicts':>12} {'wall s':>7} {'CPU s':>7} {'GB':>5}   tables made in"]
    for p in points:
        lines.append(
            f"{p.size.verdicts:12,} {p.wall:7.1f} {p.cpu:7.1f} {p.peak / 2**30:5.2f}"
            f"   {p.made:.1f} s"
        )
    for first, second in zip(points, points[1:], strict=False):
        more = second.size.verdicts / first.size.verdicts
        lines.append(f"{more:.2f} times the verdicts: {second.cpu / first.cpu:.2f} times the CPU")
        if second.size.verdicts > first.size.verdicts:
            each = (second.cpu - first.cpu) / (second.size.verdicts - first.size.verdicts)
            lines[-1] += f", {1e6 * each:.2f} s a million more"
    lines += [
        f"  {c.notebook}: {c.cpu:.1f} s of CPU, {c.wall:.1f} s, {c.peak / 2**30:.2f} GB so far"
        for c in points[-1].costs
    ]
    held, took = points[-1].peak <= MEMORY, points[-1].wall <= SECONDS
    lines.append(
        f"bars: {SECONDS} s of wall time {'held' if took else 'NOT held'}, "
        f"{MEMORY / 2**30:.0f} GB {'held' if held else 'NOT held'}"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every share of the size that is asked for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, metavar="SHARE")
    for field in fields(Size):
        parser.add_argument(f"--{field.name}", type=int, default=field.default, metavar="N")
    asked = parser.parse_args(arguments)
    whole, names = Size(**{f.name: getattr(asked, f.name) for f in fields(Size)}), reading()
    with tempfile.TemporaryDirectory(prefix="compiled-") as compiled:
        measure(Size(2, 2, 2, 2, 2, 200, 4, 20), names, Path(compiled))  # what is paid once
        points = [measure(whole.part(share), names, Path(compiled)) for share in asked.shares]
    print(table(points))


if __name__ == "__main__":
    try:
        main()
    except GroundedError as error:
        sys.exit(f"error: {error}")
