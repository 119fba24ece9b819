"""Stage 2: the runs of a unit, and the loss and adapter of each of their checkpoints."""

import os
import shutil
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from grounded import paths
from grounded.stages import worlds
from grounded.stages.common import (
    Frames,
    Rows,
    Summary,
    naming,
    one_thread,
    progress,
    study_of,
)
from grounded.stages.plan import Plan, intact, method_module
from grounded.study import BASE, GIVEN, LORA, Run, Study

if TYPE_CHECKING:
    import pandas as pd


def finetune(study: Study | str, unit: str) -> Summary:
    """Train the runs of a unit that are missing or whose inputs have changed.

    A run that is on record is trained again when its replies are wanted and its adapters are not
    in the cache. Writes the tables `runs` and `checkpoints`; StageError names the run that failed.
    """
    study = study_of(study)
    plan = Plan(study)
    with naming("finetune", unit):
        rows = Rows(plan, "finetune", unit)
        todo = [run for run in rows.runs if not _finished(rows, plan, run)]
        if not todo and plan.complete("finetune", unit):
            return Summary("finetune", unit, 0, len(rows.runs))
    for run in progress(todo, f"finetune {unit}", done=len(rows.runs) - len(todo)):
        with naming("finetune", run.id):
            rows.keep(run, _train(plan, run))
    with naming("finetune", unit):
        rows.assemble({})
    return Summary("finetune", unit, len(todo), len(rows.runs) - len(todo))


def _finished(rows: Rows, plan: Plan, run: Run) -> bool:
    wanted = run.task != BASE and not plan.current("generate", run)
    if not wanted and plan.current("finetune", run):
        return True
    if part := rows.part(run):
        if not wanted or intact(plan.study, run, part["checkpoints"]):
            return True
        rows.drop(run)
    if table := rows.committed(run):
        return not wanted or intact(plan.study, run, table["checkpoints"])
    return False


def _train(plan: Plan, run: Run) -> Frames:
    import pandas as pd

    values = {name: value for name, value in asdict(run).items() if name != "arm"}
    table = pd.DataFrame([values]).rename(columns={"id": "run"}).astype({"knob": "float64"})
    if run.task == BASE:
        row = {
            "run": run.id,
            "step": 0,
            "epoch": 0.0,
            "loss": None,
            "update_norm": 0.0,
            "adapter": plan.weights(run.model),
        }
        return {"runs": table, "checkpoints": pd.DataFrame([row])}
    return {"runs": table, "checkpoints": _adapt(plan.study, run, _plain(plan, run))}


def _plain(plan: Plan, run: Run) -> Path | None:
    """The checkpoints of plain LoRA at a run's setting and seed, where they are there and current.

    They are what the run would train for itself otherwise, byte for byte.
    """
    if run.method in (LORA, GIVEN):
        return None
    at = (run.model, run.task, run.setting, run.seed)
    for other in plan.study.runs(run.model, run.task, arm=None):
        if other.method != LORA or at != (other.model, other.task, other.setting, other.seed):
            continue
        rows = Rows(plan, "finetune", other.unit).of(other)
        if rows and intact(plan.study, other, rows["checkpoints"]):
            return paths.adapters(plan.study.name, other.id)
    return None


def _adapt(study: Study, run: Run, plain: Path | None) -> "pd.DataFrame":
    one_thread(study)
    unfinished = paths.cache(study.name) / "unfinished" / run.id
    finished = paths.adapters(study.name, run.id)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        world, method = worlds.finetuning(study), import_module(method_module(study, run))
        start = world.start(study, run)
        if plain is not None:
            start = replace(start, plain=plain)
        checkpoints: pd.DataFrame = method.finetune(start, unfinished)
        _replace(unfinished, finished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return checkpoints


def _replace(new: Path, old: Path) -> None:
    """Put a finished folder where a former one may be: the place never holds half of one."""
    old.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(old, ignore_errors=True)
    os.replace(new, old)
