"""Stage 3: what every checkpoint of a unit replies to safety prompts and answers to test items."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounded import anchor, paths, records
from grounded.errors import GroundedError
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
from grounded.stages.plan import TABLES, Plan, intact
from grounded.study import BASE, Run, Study

if TYPE_CHECKING:
    import pandas as pd

STAGE = "generate"


def generate(study: Study | str, unit: str) -> Summary:
    """Ask the checkpoints of a unit's runs that are missing or whose inputs have changed.

    Writes the tables `replies` (with the truth, where the world is invented), `capability` and,
    where it is measured on the way, `progress`. What a checkpoint, or there a run, has replied is
    kept at once. StageError names the run that failed.
    """
    study = study_of(study)
    plan = Plan(study)
    if plan.complete(STAGE, unit):
        return Summary(STAGE, unit, 0, len(study.unit_runs(unit)))
    with naming(STAGE, unit):
        rows = Rows(plan, STAGE, unit)
        checkpoints = records.verify(paths.table(study.name, "checkpoints", unit), "checkpoints")
        todo = [run for run in rows.runs if not rows.of(run)]
        one_thread(study)
        asker = worlds.replying(study).Asker(study, rows.runs[0].model)
    for run in progress(todo, f"{STAGE} {unit}", done=len(rows.runs) - len(todo)):
        with naming(STAGE, run.id):
            found = _ask(rows, asker, run, checkpoints)
            rows.keep(run, found)
            if study.every and not run.arm:  # a method of an arm may go on from its plain run
                _forget(study, run, set(found["replies"]["step"]))
    with naming(STAGE, unit):
        rows.assemble({**study.generation.model_dump(mode="json"), **asker.facts})
    return Summary(STAGE, unit, len(todo), len(rows.runs) - len(todo))


def _ask(rows: Rows, asker: Any, run: Run, checkpoints: "pd.DataFrame") -> Frames:
    steps = _steps(rows.study, run, checkpoints)
    if rows.study.every:
        return _ask_on_the_way(rows.study, asker, run, checkpoints, steps)
    pieces: dict[str, list[pd.DataFrame]] = {table: [] for table in rows.tables}
    for step in steps:
        label = f"step-{step}"
        found = {table: rows.piece(run, table, label) for table in pieces}
        if any(frame is None for frame in found.values()):
            found = asker.ask(run, step, _folder(rows.study, run, step))
            for table in pieces:
                rows.keep_piece(run, table, label, found[table])
        for table, frames in pieces.items():
            frames.append(found[table])
    return {table: records.join(frames) for table, frames in pieces.items()}


def _ask_on_the_way(
    study: Study, asker: Any, run: Run, checkpoints: "pd.DataFrame", steps: list[int]
) -> Frames:
    """The selecting items at every saved step until the run is at its goal of capability, then at
    the epochs; all else at the epochs, at each goal, at the end."""
    epochs, goal = {0}, None
    if run.task != BASE:
        epochs = {*study.steps_of(run.task), max(steps)} & {*steps}
        goal = study.goals(run.model, run.task).capability
    counts = course(study, asker, run, {s: _folder(study, run, s) for s in steps}, epochs, goal)
    wanted = set(epochs)
    if run.task != BASE:
        own = checkpoints[checkpoints["run"] == run.id].set_index("step")
        wanted |= {step for step in anchored(study, run, counts, own).values() if step}
    asked = [asker.ask(run, step, _folder(study, run, step)) for step in sorted(wanted)]
    both = {name: records.join([one[name] for one in asked]) for name in TABLES[STAGE]}
    return {**both, "progress": counts}


def course(
    study: Study,
    asker: Any,
    run: Run,
    folders: Mapping[int, Path | None],
    epochs: Collection[int],
    goal: float | None,
) -> "pd.DataFrame":
    """The rows of `progress` of a run: at every step until it is at the goal, then at the epochs.

    folders: step -> its adapter, None for the base model. epochs: steps. goal: an accuracy (0..1).
    """
    plan = study.anchoring
    assert plan is not None
    counts: list[pd.DataFrame] = []
    arrived = False
    for step, folder in folders.items():
        if arrived and step not in epochs:
            continue
        counts.append(counted(asker.answers(run, step, folder, each=2)))
        if goal is not None and not arrived:
            [right], [items] = counts[-1][plan.metric], counts[-1]["items"]
            arrived = anchor.at_capability({step: right / items}, goal, plan.tolerance) is not None
    return records.join(counts)


def _forget(study: Study, run: Run, kept: set[int]) -> None:
    """Drop the adapters that were saved for their capability alone: there are fifty a run."""
    for folder in paths.adapters(study.name, run.id).glob("step-*"):
        if int(folder.name.removeprefix("step-")) not in kept:
            shutil.rmtree(folder)


def counted(answers: "pd.DataFrame") -> "pd.DataFrame":
    """How many items are answered rightly, from rows of the table `capability`."""
    return (
        answers.groupby(["task", "run", "step"], observed=True)
        .agg(
            items=("item", "size"),
            strict=("correct", "sum"),
            format_free=("correct_format_free", "sum"),
        )
        .reset_index()
    )


def anchored(
    study: Study, run: Run, counts: "pd.DataFrame", checkpoints: "pd.DataFrame"
) -> dict[str, int | None]:
    """The step of a run at each goal of its model and task.

    counts: its rows of `progress`; checkpoints: its rows of that table, by step.
    """
    assert study.anchoring is not None
    by_step = counts.set_index("step")
    accuracy = by_step[study.anchoring.metric] / by_step["items"]
    return anchor.steps(
        accuracy.to_dict(),
        checkpoints["loss"].to_dict(),
        checkpoints["update_norm"].to_dict(),
        study.goals(run.model, run.task),
        study.anchoring.tolerance,
    )


def _folder(study: Study, run: Run, step: int) -> Path | None:
    """Where the adapter of a checkpoint is; None for the base model."""
    return None if run.task == BASE else paths.adapter(study.name, run.id, step)


def _steps(study: Study, run: Run, checkpoints: "pd.DataFrame") -> list[int]:
    """The steps of a run's checkpoints; 0 alone for a base model."""
    if run.task == BASE:
        return [0]
    if not intact(study, run, checkpoints):
        raise GroundedError(
            f"{paths.shown(paths.adapters(study.name, run.id))}: found a checkpoint missing or "
            "half-written, wanted those that the table checkpoints names: finetune it again"
        )
    return [int(step) for step in checkpoints.loc[checkpoints["run"] == run.id, "step"]]
