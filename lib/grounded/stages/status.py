"""Which units of a study must be made again, and why: from what is recorded, without torch."""

from typing import NamedTuple

from grounded import paths, records
from grounded.stages import public
from grounded.stages.common import study_of
from grounded.stages.plan import MICROWORLD, STAGES, Plan, intact, outputs, some, units, upstream
from grounded.study import BASE, Study, TunedJudge


class Status(NamedTuple):
    """One unit of one stage; `reason` is empty when it is current."""

    stage: str
    unit: str
    state: str  # current or stale
    reason: str


def status(study: Study | str) -> list[Status]:
    """The state of every unit of every stage, in the order in which they would be made.

    A unit is stale when its output is missing or unreadable, holds other runs, records other
    inputs, or waits for something stale. Fine-tuning is stale, too, where replies are wanted of
    adapters that the cache no longer holds.
    """
    study = study_of(study)
    plan = Plan(study)
    stale: set[tuple[str, str]] = set()
    found = []
    for stage in STAGES:
        for unit in units(study, stage):
            reason = _own(plan, stage, unit)
            for before in upstream(study, stage, unit):
                if not reason and before in stale:
                    reason = f"waits for {' '.join(before)}"
            if reason:
                stale.add((stage, unit))
            found.append(Status(stage, unit, "stale" if reason else "current", reason))
    return found


def _own(plan: Plan, stage: str, unit: str) -> str:
    """Why a unit is stale by itself, or nothing."""
    if stage == "base_models":
        return _model(plan, unit)
    reason = plan.stale(stage, unit)
    return reason or (_adapters(plan, unit) if stage == "finetune" else "")


def _model(plan: Plan, unit: str) -> str:
    study = plan.study
    if isinstance(study.judges.get(unit), TunedJudge):
        wanted = [(plan.tuned_judge(unit), False)]
    elif study.world != MICROWORLD:
        return public.stale(study, unit)
    elif unit in study.language_judges:
        wanted = [(plan.trained_judge(unit), False)]
    else:
        first = [] if unit in study.variants else [(plan.pretrained(unit), False)]
        wanted = [*first, (plan.base(unit), True)]
    for folder, (inputs, accepted) in zip(outputs(study, "base_models", unit), wanted, strict=True):
        if plan.content(folder) is None:
            return f"{paths.shown(folder)} is missing"
        if not plan.built(folder, inputs, accepted):
            return f"{paths.shown(folder)}: other inputs, other files or not accepted"
    return ""


def _adapters(plan: Plan, unit: str) -> str:
    runs = [r for r in plan.study.unit_runs(unit) if r.task != BASE]
    wanted = [run for run in runs if not plan.current("generate", run)]
    if not wanted:
        return ""
    table = records.read(paths.table(plan.study.name, "checkpoints", unit), "checkpoints")
    absent = [run.id for run in wanted if not intact(plan.study, run, table)]
    return f"adapters wanted and not in the cache: {some(absent)}" if absent else ""
