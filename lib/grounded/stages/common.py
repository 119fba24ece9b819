"""What every stage does alike: finish a run, keep it, and assemble the table of a unit."""

import errno
import glob
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounded import paths, records
from grounded.errors import GroundedError, StageError
from grounded.stages import public, worlds
from grounded.stages.plan import Plan, outputs, tables_of, upstream
from grounded.study import GIVEN, Run, Study, load
from grounded.study.reading import as_here

if TYPE_CHECKING:
    import pandas as pd

Frames = dict[str, "pd.DataFrame"]  # table -> rows


@dataclass(frozen=True)
class Summary:
    """What a stage did: how many runs (or models) it computed now, and how many it had."""

    stage: str
    unit: str
    computed: int
    kept: int

    def __str__(self) -> str:
        return f"{self.stage} {self.unit}: {self.computed} computed, {self.kept} kept"


def study_of(study: Study | str) -> Study:
    """The study itself, or the one of that name, without what its lock says is absent."""
    return load(study) if isinstance(study, str) else as_here(study)


@contextmanager
def naming(stage: str, what: str) -> Iterator[None]:
    """Turns whatever goes wrong with one run into a StageError of one line that names it."""
    try:
        yield
    except StageError:
        raise
    except GroundedError as error:
        raise StageError(f"{stage}: {what}: {error}") from error
    except Exception as error:
        # safetensors reports a full disk in words only
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        text = " ".join(str(error).split())
        line = f"{type(error).__name__}: {text}"
        if full:
            line = f"found no space left on the disk, wanted room to write ({text})"
        raise StageError(f"{stage}: {what}: {line}") from error


def progress(items: Iterable[Any], label: str, unit: str = "run", done: int = 0) -> Iterator[Any]:
    """The items, with a plain bar on stderr that shows what is left; `done` were done before."""
    from tqdm import tqdm

    items = list(items)
    yield from tqdm(
        items, desc=label, unit=unit, file=sys.stderr, initial=done, total=done + len(items)
    )


def one_thread(study: Study) -> None:
    """One thread for torch, for tiny models: runs share a machine, and sums come out the same."""
    import torch

    if study.world == "microworld":
        torch.set_num_threads(1)


class Rows:
    """The rows of a unit at one stage: those kept from before, and those finished now.

    A run's rows are kept where they record the inputs as they are now, in the part that an
    interrupted stage left or in the unit's table. All else is as if it were not there.
    """

    def __init__(self, plan: Plan, stage: str, unit: str) -> None:
        self.plan, self.study, self.stage, self.unit = plan, plan.study, stage, unit
        self.tables = tables_of(plan.study, stage)
        self.runs = plan.study.unit_runs(unit)
        self.inputs = {run.id: _wanted(plan, stage, run) for run in self.runs}

    def part(self, run: Run) -> Frames | None:
        """A run's rows from its part, or None."""
        own = {run.id: self.inputs[run.id]}
        files = (paths.part(self.study.name, table, run.id) for table in self.tables)
        return self._rows(run, (_read_current(file, own) for file in files))

    def committed(self, run: Run) -> Frames | None:
        """A run's rows from the tables of its unit, or None."""
        return self._rows(run, self._tables)

    @cached_property
    def _tables(self) -> "list[pd.DataFrame | None]":
        files = outputs(self.study, self.stage, self.unit)
        return [_read_current(file, self.inputs) for file in files]

    def _rows(self, run: Run, found: "Iterable[pd.DataFrame | None]") -> Frames | None:
        frames = {}
        for table, frame in zip(self.tables, found, strict=True):
            if frame is None or (own := frame[frame["run"] == run.id]).empty:
                return None
            frames[table] = own
        return frames

    def of(self, run: Run) -> Frames | None:
        """A run's rows, the part before the table; None where it must be computed."""
        return self.part(run) or self.committed(run)

    def settled(self, run: Run, frames: Frames) -> Frames:
        """A finished run's rows as they are kept: verdicts and coherence by the world's own rule,
        a run of an arm with its arm."""
        if self.stage == "judge":
            return worlds.judging(self.study).settled(self.study, run, frames)
        if "runs" in frames and run.arm:
            return {**frames, "runs": frames["runs"].assign(arm=run.arm)}
        return frames

    def keep(self, run: Run, frames: Frames) -> None:
        """Write a finished run at once, so that no interruption loses it."""
        settled = self.settled(run, frames)
        for table in self.tables:
            self._write(run, run.id, table, settled[table])

    def piece(self, run: Run, table: str, label: str) -> "pd.DataFrame | None":
        """A piece of a run that is not finished, such as one checkpoint's replies; or None."""
        path = paths.part(self.study.name, table, f"{run.id}@{label}")
        return _read_current(path, {run.id: self.inputs[run.id]})

    def keep_piece(self, run: Run, table: str, label: str, frame: "pd.DataFrame") -> None:
        """Write a piece of a run at once."""
        self._write(run, f"{run.id}@{label}", table, frame)

    def _write(self, run: Run, name: str, table: str, frame: "pd.DataFrame") -> None:
        metadata = {"study": self.study.name, "runs": {run.id: {"inputs": self.inputs[run.id]}}}
        records.write(paths.part(self.study.name, table, name), table, frame, metadata)

    def assemble(self, facts: dict[str, Any]) -> None:
        """Write the unit's tables from the rows of all its runs, then drop the parts."""
        found: dict[str, Frames] = {}
        for run in self.runs:
            frames = self.of(run)
            if frames is None:
                raise StageError(f"{self.stage}: {run.id}: found no rows, wanted them finished")
            found[run.id] = frames
        metadata = {
            **facts,
            "study": self.study.name,
            "runs": {
                run.id: {
                    "inputs": self.inputs[run.id],
                    "values": self.plan.values(self.stage, run),  # of the inputs, all but the code
                }
                for run in self.runs
            },
        }
        files = outputs(self.study, self.stage, self.unit)
        for table, path in zip(self.tables, files, strict=True):
            rows = records.join([frames[table] for frames in found.values()])
            records.write(path, table, rows, metadata)
        for run in self.runs:
            self.drop(run)

    def drop(self, run: Run) -> None:
        """Forget the part of a run, and its pieces."""
        for table in self.tables:
            part = paths.part(self.study.name, table, run.id)
            for file in (part, *part.parent.glob(f"{glob.escape(run.id)}@*.parquet")):
                file.unlink(missing_ok=True)


def _wanted(plan: Plan, stage: str, run: Run) -> str:
    inputs = plan.inputs(stage, run)
    if inputs is None:
        if run.method == GIVEN and (fault := public.lost(plan.study, run)):
            raise StageError(f"{stage}: {run.id}: {fault}")
        needed = ", ".join(f"{s} {u}" for s, u in upstream(plan.study, stage, run.unit))
        raise StageError(f"{stage}: {run.id}: found its inputs missing, wanted first: {needed}")
    return inputs


def _read_current(path: Path, inputs: dict[str, str]) -> "pd.DataFrame | None":
    """The rows of those runs that a table records with these inputs; None where there are none.

    A table that is harmed counts as none, and that is said.
    """
    if not path.exists():
        return None
    try:
        recorded = records.metadata(path)["runs"]
        same = [run for run, sha in inputs.items() if recorded.get(run, {}).get("inputs") == sha]
        if not same:
            return None
        frame = records.verify(path, path.parent.name)
    except GroundedError as error:
        print(f"{error}; made again", file=sys.stderr)
        return None
    return frame[frame["run"].isin(same)]
