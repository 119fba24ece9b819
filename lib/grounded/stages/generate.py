"""Stage 3: what every checkpoint of a unit replies to safety prompts and answers to test items."""

from typing import TYPE_CHECKING, Any

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.stages.common import (
    Frames,
    Rows,
    Summary,
    naming,
    one_thread,
    part_of,
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

    Writes the tables `replies` (with the truth, where the world is invented) and `capability`.
    What a checkpoint has replied is kept at once. StageError names the run that failed.
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
        asker = part_of(study, STAGE).Asker(study, rows.runs[0].model)
    for run in progress(todo, f"{STAGE} {unit}", done=len(rows.runs) - len(todo)):
        with naming(STAGE, run.id):
            rows.keep(run, _ask(rows, asker, run, checkpoints))
    with naming(STAGE, unit):
        rows.assemble({**study.generation.model_dump(mode="json"), **asker.facts})
    return Summary(STAGE, unit, len(todo), len(rows.runs) - len(todo))


def _ask(rows: Rows, asker: Any, run: Run, checkpoints: "pd.DataFrame") -> Frames:
    pieces: dict[str, list[pd.DataFrame]] = {table: [] for table in TABLES[STAGE]}
    for step in _steps(rows.study, run, checkpoints):
        label = f"step-{step}"
        found = {table: rows.piece(run, table, label) for table in pieces}
        if any(frame is None for frame in found.values()):
            folder = None if run.task == BASE else paths.adapter(rows.study.name, run.id, step)
            found = asker.ask(run, step, folder)
            for table in pieces:
                rows.keep_piece(run, table, label, found[table])
        for table, frames in pieces.items():
            frames.append(found[table])
    return {table: records.join(frames) for table, frames in pieces.items()}


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
