"""When code was only put in order: make one run again, and vouch for the others if it is the same.

A study's tables record the code that made them, so any change of code makes them stale. Where the
values are those of before, one run is made again by the code as it is now: trained, asked, and its
base model's replies judged. If all rows come out the same, every run that is stale by code alone
is recorded as current; otherwise nothing is changed.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.records.files import store, table_of
from grounded.records.fitting import fit
from grounded.stages.common import Frames
from grounded.stages.plan import Plan, outputs, tables_of
from grounded.study import BASE, Run, Study

TABLED = ("finetune", "generate", "judge")


def vouch(study: Study, name: str) -> int:
    """Make the run `name` again and re-record what is stale by code alone; how many tables.

    The tables and adapters of the run must be on this machine, texts included. GroundedError where
    a row differs, which names the table.
    """
    run = next((one for one in study.runs(arm=None) if one.id == name), None)
    if run is None:
        raise GroundedError(f"vouch: found {name}, wanted a run of {study.name}")
    plan = Plan(study)
    for stage, frames in _again(study, run).items():
        made = run if stage != "judge" else study.runs(run.model, BASE)[0]
        _compare(plan, stage, made, frames)
        print(f"{stage} {made.id}: the same rows", file=sys.stderr)
    return sum(_record(plan, stage, unit) for stage in TABLED for unit in study.units(arm=None))


def _again(study: Study, run: Run) -> dict[str, Frames]:
    """The rows of a run at the first two stages, and of its base model at the third."""
    from grounded.stages import finetune, generate, judge, worlds
    from grounded.stages.common import Rows, one_thread

    one_thread(study)
    kept, home = Plan(study), paths.home()
    trained = finetune._train(kept, run)
    found = {"finetune": Rows(kept, "finetune", run.unit).settled(run, trained)}
    rows = Rows(kept, "generate", run.unit)
    asker = worlds.replying(study).Asker(study, run.model)
    rows.piece = lambda *_: None  # type: ignore[method-assign]
    rows.keep_piece = lambda *_: None  # type: ignore[method-assign]
    found["generate"] = generate._ask(rows, asker, run, found["finetune"]["checkpoints"])
    base = f"{run.model}-{BASE}"
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(paths.data(study.name), Path(scratch) / "data" / study.name)
        if (cache := home / ".cache").is_dir():
            (Path(scratch) / ".cache").symlink_to(cache)
        os.environ["GROUNDED_HOME"] = scratch
        try:
            for file in outputs(study, "judge", base):
                file.unlink()
            judge.judge(study, base)
            made = zip(tables_of(study, "judge"), outputs(study, "judge", base), strict=True)
            found["judge"] = {table: records.read(file, table) for table, file in made}
        finally:
            os.environ["GROUNDED_HOME"] = str(home)
    return found


def _compare(plan: Plan, stage: str, run: Run, frames: Frames) -> None:
    for table, file in zip(
        tables_of(plan.study, stage), outputs(plan.study, stage, run.unit), strict=True
    ):
        made = records.rows_shas(fit(frames[table], table, f"{table} of {run.id}"), table)
        recorded = records.metadata(file)["runs"].get(run.id, {}).get("rows")
        if made[run.id] != recorded:
            raise GroundedError(
                f"{paths.shown(file)}: {run.id}: found other rows when it was made again, wanted "
                "the same: make the study again"
            )


def _record(plan: Plan, stage: str, unit: str) -> int:
    """Re-record a unit's runs that are stale by code alone; the number of tables rewritten."""
    rewritten = 0
    for file in outputs(plan.study, stage, unit):
        if not file.exists():
            continue
        about = records.sound(file, file.parent.name)
        for run in plan.study.unit_runs(unit):
            one = about["runs"].get(run.id, {})
            if one.get("values") == plan.values(stage, run):
                one["inputs"] = plan.inputs(stage, run)
        if about != records.metadata(file):
            arrow = table_of(file)
            metadata = {"grounded": json.dumps(about, sort_keys=True)}
            store(arrow.replace_schema_metadata(metadata), file)
            rewritten += 1
    return rewritten
