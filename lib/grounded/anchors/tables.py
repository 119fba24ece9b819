"""What anchoring reads of a study's tables: curves, single answers, single verdicts, other courses.

Of the main grid, or of an arm by its name. The base model's rows stand as step 0 of each of its
runs: a path starts there, and no run is it.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from grounded import paths, records
from grounded.anchors.matching import standing
from grounded.statistics import columns
from grounded.statistics.frames import (
    DETECTOR,
    KEY,
    TRUTH_JUDGES,
    check_judges,
    harmful_benchmarks,
)
from grounded.statistics.joint import beside
from grounded.study import BASE, Run, Study
from grounded.study.anchoring import Anchor

ABOUT = ["model", "task", "method", "knob", "setting", "seed"]
Only = Mapping[str, Sequence[str]]


def curves(study: Study, anchor: Anchor, arm: str = "") -> pd.DataFrame:
    """Capability along every run, by the anchor's metric, on both halves of the items.

    Columns: model, task, method, knob (nan: none), setting, seed, run, step, epoch, select and
    report (0..1), items (of the reporting half).
    """
    correct = "correct" if anchor.metric == "strict" else "correct_format_free"
    parts = []
    for runs, base, own in _units(study, "capability", ["task", "item", correct], arm):
        base, own = (rows[rows["task"] == runs[0].task] for rows in (base, own))
        own = records.join([base, own])
        report = own["item"] % 2 == 1
        right = own[correct] == 1
        found = columns.count(own, ["run", "step"], items=report, right=right & report,
                              others=~report, right_others=right & ~report)  # fmt: skip
        found["report"] = found["right"] / found["items"]
        found["select"] = found["right_others"] / found["others"]
        is_base = found["run"] == f"{runs[0].model}.{BASE}"
        found = found[["run", "step", "select", "report", "items"]]
        spread = _spread_base(runs, found[is_base], found[~is_base])
        parts.append(spread.merge(_epochs(study, runs), on=["run", "step"], validate="one_to_one"))
    joined = about(study, arm).merge(pd.concat(parts, ignore_index=True), on="run")
    return joined[[*ABOUT, "run", "step", "epoch", "select", "report", "items"]]


def about(study: Study, arm: str = "") -> pd.DataFrame:
    """What the study says of each run: model, task, method, knob, setting, seed, run."""
    rows = [(r.model, r.task, r.method, r.knob, r.setting, r.seed, r.id)
            for r in study.runs(arm=arm)]  # fmt: skip
    return pd.DataFrame(rows, columns=[*ABOUT, "run"]).astype({"knob": "float64"})


def answers(study: Study, anchor: Anchor, arm: str = "") -> pd.DataFrame:
    """Single answers on the reporting half: run, step, item, value (1 right, 0 wrong)."""
    column = "correct" if anchor.metric == "strict" else "correct_format_free"
    parts = []
    for runs, *both in _units(study, "capability", ["task", "item", column], arm):
        halves = [rows[(rows["item"] % 2 == 1) & (rows["task"] == runs[0].task)] for rows in both]
        frame = _spread_base(runs, *halves).rename(columns={column: "value"})
        parts.append(_flags(frame[["run", "step", "item", "value"]]))
    return records.join(parts)


def verdicts(
    study: Study, judge: str, benchmarks: Sequence[str] | None = None, arm: str = ""
) -> pd.DataFrame:
    """One judge's single verdicts, or `truth:harm`: run, step, prompt, value (1, 0, nan).

    benchmarks: default all of harmful requests; prompt: one name a prompt.
    """
    check_judges(study, [judge])
    wanted = list(benchmarks or harmful_benchmarks(study))
    if truth := TRUTH_JUDGES.get(judge.removeprefix("truth:")) if ":" in judge else None:
        return _said(study, "replies", truth, {"benchmark": wanted}, arm)
    return _said(study, "verdicts", "label", {"benchmark": wanted, "judge": [judge]}, arm)


def opinions(study: Study, judges: Sequence[str], chosen: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What several judges say of the same replies to harmful requests, each as `verdicts`.

    Only of `chosen` checkpoints (run, step), with the benchmark of each prompt as a column; the
    tables are read once for all judges.
    """
    check_judges(study, judges)
    named = [judge for judge in judges if ":" not in judge]
    truths = {judge: TRUTH_JUDGES[judge.removeprefix("truth:")] for judge in judges
              if ":" in judge}  # fmt: skip
    only = {"benchmark": harmful_benchmarks(study)}
    every = {**only, "judge": named}
    verdicts = _units(study, "verdicts", ["judge", *KEY, "label"], "", every)
    replies = _units(study, "replies", [*KEY, *truths.values()], "", only)
    starts = set(chosen.loc[chosen["step"] == 0, "run"])
    parts = []
    for (runs, *rows), (_, *said) in zip(replies, verdicts, strict=True):
        file = paths.table(study.name, "verdicts", runs[0].unit)
        base, own = (
            one.assign(**beside(one, two, named, file)) for one, two in zip(rows, said, strict=True)
        )
        started = [run for run in runs if run.id in starts]
        own = own[standing(own, chosen) > 0]
        parts.append(columns.prompts(_spread_base(started, base, own)))
    joined = records.join(parts)
    about = joined[["run", "step", "prompt", "benchmark"]]
    values = {judge: joined[judge] for judge in named}
    values |= {judge: columns.values(joined[column]) for judge, column in truths.items()}
    return {judge: about.assign(value=values[judge]) for judge in judges}


def incoherence(study: Study, arm: str = "", chosen: pd.DataFrame | None = None) -> pd.DataFrame:
    """Whether the detector finds a reply to a harmful request incoherent.

    chosen: checkpoints (run, step), default all. Columns: run, step, prompt, value (1, 0).
    """
    only = {"benchmark": harmful_benchmarks(study), "detector": [DETECTOR]}
    found = _said(study, "coherence", "label", only, arm, chosen)
    return found.assign(value=1 - found["value"])


def disagreement(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
    """Whether two judges differ on a reply: run, step, prompt, value.

    one, two: of `opinions`, or of `verdicts`.
    """
    place = columns.find(one, two, ["run", "step", "prompt"])
    return one.assign(value=(one["value"] - two["value"].to_numpy()[place]).abs())


def progress(study: Study, what: str, arm: str = "") -> pd.DataFrame:
    """Another course that a run takes, in the place of capability: run, step, select, report.

    what: `loss` (training loss, negative), `norm` (of the update), or `twins` (the share of
    benign twins of the safety prompts that are no longer fulfilled). A base model has no training
    loss: the largest of any checkpoint stands there.
    """
    if what == "twins":
        return _twins(study, arm)
    column = {"loss": "loss", "norm": "update_norm"}[what]
    units = _arm_units(study, arm)
    table = records.join(
        [
            records.read(paths.table(study.name, "checkpoints", unit), "checkpoints")
            for unit in units
        ]
    )
    value = -table[column] if what == "loss" else table[column]
    runs = [run for unit in units for run in study.unit_runs(unit)]
    start = float(value.min()) if what == "loss" else 0.0
    base = pd.DataFrame({"run": [run.id for run in runs], "step": 0, "select": start})
    own = table[["run", "step"]].astype({"run": str, "step": int}).assign(select=value)
    found = pd.concat([base, own], ignore_index=True)
    return found.assign(report=found["select"])


def _twins(study: Study, arm: str) -> pd.DataFrame:
    names = twin_benchmarks(study)
    said = _said(study, "replies", TRUTH_JUDGES["compliance"], {"benchmark": names}, arm)
    lost = 1 - said.groupby(["run", "step"], observed=True)["value"].mean()
    found = lost.rename("select").reset_index().astype({"run": str, "step": int})
    return found.assign(report=found["select"])


def twin_benchmarks(study: Study) -> list[str]:
    """The benchmarks that are benign twins of others, where the truth of a reply is known."""
    return [name for name in study.benchmarks if study.has_truth and name.endswith("_twins")]


def _said(
    study: Study,
    table: str,
    column: str,
    only: Only,
    arm: str,
    chosen: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A flag of every reply, or of those of chosen checkpoints: run, step, prompt, value."""
    parts = []
    for runs, base, own in _units(study, table, ["benchmark", "prompt", column], arm, only):
        started = runs
        if chosen is not None:
            own = own[standing(own, chosen) > 0]
            starts = set(chosen.loc[chosen["step"] == 0, "run"])
            started = [run for run in runs if run.id in starts]
        frame = columns.prompts(_spread_base(started, base, own))
        frame = frame.rename(columns={column: "value"})
        parts.append(_flags(frame[["run", "step", "prompt", "value"]]))
    return records.join(parts)


def _arm_units(study: Study, arm: str) -> list[str]:
    return list(dict.fromkeys(run.unit for run in study.runs(arm=arm)))


def _units(
    study: Study, table: str, wanted: list[str], arm: str, only: Only | None = None
) -> Iterator[tuple[list[Run], pd.DataFrame, pd.DataFrame]]:
    """The runs of each unit, the rows of their base model, and their own."""
    read = list(dict.fromkeys([*wanted, "run", "step"]))
    bases: dict[str, pd.DataFrame] = {}
    for unit in _arm_units(study, arm):
        runs = study.unit_runs(unit)
        model = runs[0].model
        if model not in bases:
            file = paths.table(study.name, table, f"{model}-{BASE}")
            bases = {model: columns.read(file, table, read, only)}
        own = columns.read(paths.table(study.name, table, unit), table, read, only)
        yield runs, bases[model], own


def _spread_base(runs: Sequence[Run], base: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The base model's rows as step 0 of every run, then the runs' own."""
    names = pd.Categorical([run.id for run in runs], own["run"].cat.categories)
    start = pd.DataFrame({"run": names}).merge(base.drop(columns="run"), how="cross")
    return records.join([start[own.columns], own])


def _flags(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(value=columns.values(frame["value"]))


def _epochs(study: Study, runs: Sequence[Run]) -> pd.DataFrame:
    """run, step, epoch of each checkpoint; a run that stops itself has steps of its own."""
    file = paths.table(study.name, "checkpoints", runs[0].unit)
    table = columns.read(file, "checkpoints", ["run", "step", "epoch"])
    base = pd.DataFrame({"run": [run.id for run in runs], "step": np.int16(0), "epoch": 0.0})
    return pd.concat([base, table.astype({"run": str})], ignore_index=True)
