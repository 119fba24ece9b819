"""What the figures cost at the size of the paper's grid: time and memory over generated tables.

`python -m workflow.bench_scale` makes tables of a tenth, a third and the whole of the size in a
scratch folder (see `generated`), and executes every figure notebook that reads tables on each, two
at a time, a process a notebook. CPU time is told beside wall time, which others' work lengthens.
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from workflow import generated, notebooks
from workflow.generated import NAME, Size

SHARES = (0.1, 1 / 3, 1.0)
CORES = 2
SECONDS, MEMORY = 60, 4 * 2**30  # what all figures together may take, on two cores


@dataclass(frozen=True)
class Cost:
    """One notebook: seconds of wall clock and of CPU (user and system), most bytes resident."""

    notebook: str
    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Point:
    """All notebooks on tables of one size; `wall` with `CORES` of them at a time."""

    size: Size
    made: float
    wall: float
    costs: tuple[Cost, ...]

    @property
    def cpu(self) -> float:
        """Seconds of CPU of all notebooks."""
        return sum(cost.cpu for cost in self.costs)

    @property
    def peak(self) -> int:
        """Bytes that were held at once, at most: the sum of the largest processes."""
        return sum(sorted(cost.peak for cost in self.costs)[-CORES:])


def reading() -> list[str]:
    """The figure notebooks that read a study's tables."""
    return [
        name for name in notebooks.figure_notebooks()
        if any("load(study)" in cell for cell in fingerprint.cells(paths.notebook(name)))
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
    home = os.environ.get("GROUNDED_HOME")
    with tempfile.TemporaryDirectory(prefix="generated-") as scratch:
        began = time.perf_counter()
        os.environ["GROUNDED_HOME"] = scratch
        try:
            generated.write(generated.study(size))
        finally:
            os.environ.pop("GROUNDED_HOME")
            if home is not None:
                os.environ["GROUNDED_HOME"] = home
        made = time.perf_counter() - began
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"GROUNDED_HOME": scratch, "PYTHONPYCACHEPREFIX": str(compiled)}
        began = time.perf_counter()
        with ThreadPoolExecutor(CORES) as pool:
            costs = tuple(pool.map(lambda name: _cost(name, environment), names))
        return Point(size, made, time.perf_counter() - began, costs)


def _cost(name: str, environment: dict[str, str]) -> Cost:
    began = time.perf_counter()
    command = [sys.executable, "-m", "workflow.bench_scale", "--draw", name]
    child = subprocess.Popen(command, env=environment)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise GroundedError(f"{name}: found exit status {child.returncode}, wanted 0")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Cost(name, time.perf_counter() - began, used.ru_utime + used.ru_stime, peak)


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
        f"  {c.notebook}: {c.cpu:.1f} s of CPU, {c.wall:.1f} s, {c.peak / 2**30:.2f} GB"
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
    parser = argparse.ArgumentParser(prog="python -m workflow.bench_scale", description=__doc__)
    parser.add_argument("--draw", metavar="NOTEBOOK", help="one notebook, in this process")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, metavar="SHARE")
    for field in fields(Size):
        parser.add_argument(f"--{field.name}", type=int, default=field.default, metavar="N")
    asked = parser.parse_args(arguments)
    if asked.draw:
        return draw(asked.draw)
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
