"""The goals at which runs are compared, as numbers, from runs on seeds that are kept for it.

They are fixed before the runs of the study, and none of those is looked at. See `study.anchoring`.
"""

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import pandas as pd

from grounded import anchor, paths, records
from grounded.errors import GroundedError
from grounded.methods import lora
from grounded.stages import worlds
from grounded.stages.common import one_thread, progress
from grounded.stages.generate import counted, course
from grounded.study import BASE, Run, Study


def goals(study: Study) -> Path:
    """Write the study's file of goals; goes on where it was stopped. GroundedError for a model and
    task of which no run of the pilot is at the goal."""
    asked = study.anchoring
    if asked is None or asked.goals is None or not asked.pilot:
        raise GroundedError(f"{study.name}: anchoring: found no goals and pilot, wanted both")
    one_thread(study)
    file = paths.data(study.name) / asked.goals
    rows = []
    for cell in progress(list(product(study.models, study.tasks)), "goals", unit="cell"):
        rows.append(_cell(study, *cell))
        with records.replacing(file) as unfinished:
            pd.DataFrame(rows).to_csv(unfinished, index=False, lineterminator="\n")
    return file


def _cell(study: Study, model: str, task: str) -> dict[str, Any]:
    """The goals of one model and task, kept in the cache."""
    kept = paths.cache(study.name) / "pilot" / f"{model}-{task}.json"
    if not kept.exists():
        found = _measured(study, model, task)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
    return dict(json.loads(kept.read_text()))


def _measured(study: Study, model: str, task: str) -> dict[str, Any]:
    asked = study.anchoring
    assert asked is not None
    asker = cast(worlds.OnTheWay, worlds.replying(study).Asker(study, model))
    first = study.runs(model, BASE)[0]
    base = _accuracy(
        counted(asker.answers(first, 0, None, each=2)).query("task == @task"), asked.metric
    )[0]
    goal = base + asked.kappa * (1 - base)
    there, epochs = [], []
    pilot = study.runs(model, task)
    for run in [replace(run, seed=seed) for seed in asked.pilot
                for run in pilot if run.seed == study.seeds[0]]:  # fmt: skip
        accuracy, rows = _run(study, run, asker, goal)
        epochs.append({epoch: accuracy[step] for step, epoch in study.steps_of(task).items()})
        if step := anchor.at_capability(accuracy, goal, asked.tolerance):
            there.append(rows.loc[step])
    if not there:
        raise GroundedError(
            f"goals: {model}, {task}: found none of {len(epochs)} runs at {goal:.3f}"
        )
    means = {epoch: fmean(one[epoch] for one in epochs) for epoch in epochs[0]}
    return {
        "model": model, "task": task, "base": round(base, 4), "capability": round(goal, 4),
        "loss": round(fmean(row["loss"] for row in there), 4),
        "update_norm": round(fmean(row["update_norm"] for row in there), 4),
        "epoch": min(means, key=lambda epoch: abs(means[epoch] - goal)),
    }  # fmt: skip


def _run(study: Study, run: Run, asker: Any, goal: float) -> tuple[dict[int, float], pd.DataFrame]:
    """A run's accuracy where it is asked (`course`), and its checkpoints, both by step."""
    folder = paths.cache(study.name) / "pilot" / run.id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        rows = lora.finetune(worlds.finetuning(study).start(study, run), folder)
        folders = {step: folder / f"step-{step}" for step in rows["step"]}
        counts = course(study, asker, run, folders, {*study.steps_of(run.task)}, goal)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert study.anchoring is not None
    return _accuracy(counts, study.anchoring.metric), rows.set_index("step")


def _accuracy(counts: pd.DataFrame, metric: str) -> dict[int, float]:
    by_step = counts.set_index("step")
    return dict((by_step[metric] / by_step["items"]).to_dict())
