"""From tables to counts: one row a run, checkpoint and whatever else is compared.

Every later number is a function of these counts, so that 3.6 million replies times ten judges are
read once, unit by unit, and never held together. A verdict that is missing is counted as missing;
it is neither harmful nor harmless.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from grounded import paths
from grounded.errors import GroundedError
from grounded.statistics import columns
from grounded.study import BASE, GIVEN, Run, Study

KEY = ["benchmark", "prompt", "run", "step"]  # one reply
DETECTOR = "combined"
TRUTH_JUDGES = {"harm": "truth_harm", "compliance": "truth_fulfilled"}


def harmful_benchmarks(study: Study) -> list[str]:
    """The study's benchmarks of harmful requests; GroundedError when it has none."""
    if not (found := study.harmful_benchmarks):
        file = paths.shown(paths.study_file(study.name))
        raise GroundedError(f"{file}: benchmarks: found none of harmful requests, wanted one")
    return found


def describe(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """Counts with what the study says of each run: model, task, setting, seed, epoch, base."""
    runs = [*study.runs(), *(r for m in study.models for r in study.runs(m, BASE))]
    about = pd.DataFrame(
        [(r.id, r.model, r.task, r.setting, r.seed) for r in runs],
        columns=["run", "model", "task", "setting", "seed"],
    )
    counts = counts.assign(run=counts["run"].astype(str))
    found = about.merge(counts, on="run", how="inner", validate="one_to_many")
    if len(found) != len(counts):
        odd = sorted(set(counts["run"]) - set(about["run"]))[0]
        raise GroundedError(f"tables of {study.name}: found run {odd!r}, wanted runs of the study")
    found.insert(found.columns.get_loc("step") + 1, "epoch", epochs(study, found))
    return found


def epochs(study: Study, found: pd.DataFrame) -> "pd.Series[float]":
    """The epoch of each row (run, task, step), 0 for a base model.

    As the study plans it for the task, or names it for a run that was trained elsewhere.
    GroundedError for a step of no epoch.
    """
    epoch = pd.Series(np.nan, index=found.index)
    for task in found["task"].unique():
        planned = study.steps_of(task) if task in study.tasks and study.training else {}
        rows = found["task"] == task
        epoch[rows] = found.loc[rows, "step"].map({0: 0.0, **planned})
    for run in study.runs():
        if run.method == GIVEN:
            named = {n: c.epoch for n, c in enumerate(study.given[run.setting].checkpoints, 1)}
            rows = found["run"] == run.id
            epoch[rows] = found.loc[rows, "step"].map(named)
    if (odd := epoch.isna()).any():
        run, task, step = found.loc[odd, ["run", "task", "step"]].iloc[0]
        planned = study.steps_of(task) if task in study.tasks and study.training else {}
        raise GroundedError(
            f"tables of {study.name}: {run}: step: found {step}, wanted one of "
            f"{sorted({0, *planned})}"
        )
    return epoch


def at_end(study: Study, rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows (run, step) are of the last checkpoint of their run; none of a base model.

    All checkpoints of a run must be among the rows.
    """
    last = rows.groupby("run", observed=True, sort=False)["step"].transform("max")
    return (rows["step"] == last) & (rows["step"] > 0)


def capability(study: Study, half: str = "report") -> pd.DataFrame:
    """Capability of each checkpoint on one half of the items: select, report or all.

    Columns: run, model, task, setting, seed, step, epoch, items, right, right_free, capability
    and capability_free (shares in 0..1, strict and format-free). A base model has a row a task.
    """
    parts = []
    for unit in study.units():
        file = paths.table(study.name, "capability", unit)
        wanted = ["task", "item", "run", "step", "correct", "correct_format_free"]
        frame = columns.read(file, "capability", wanted)
        if half != "all":
            frame = frame[frame["item"] % 2 == (0 if half == "select" else 1)]
        counts = columns.count(
            frame, ["task", "run", "step"], items=np.ones(len(frame)),
            right=frame["correct"], right_free=frame["correct_format_free"],
        )  # fmt: skip
        parts.append(counts.astype({"task": str, "run": str}))
    counts = pd.concat(parts, ignore_index=True).rename(columns={"task": "measured"})
    counts["capability"] = counts["right"] / counts["items"]
    counts["capability_free"] = counts["right_free"] / counts["items"]
    found = describe(study, counts)
    found["task"] = found.pop("measured")
    return found


def verdicts(
    study: Study,
    judges: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Counts of verdicts for each run, checkpoint, benchmark and judge.

    judges: names of the study, and `truth:harm` or `truth:compliance` for the world's own truth
    put in a judge's place. by: more to split by, of `truth` (class of the reply), `truth_harm`,
    `truth_fulfilled` and `coherent` (the detector `combined`).
    Columns: run, model, task, setting, seed, step, epoch, benchmark, judge, *by, n (verdicts
    given), k (of them harmful, or complied), missing.
    """
    wanted = list(judges if judges is not None else study.judges)
    check_judges(study, wanted)
    benchmarks = list(benchmarks if benchmarks is not None else study.benchmarks)
    units = [u for model in models or study.models for u in study.units(model)]
    parts = [_count(study, unit, wanted, benchmarks, by) for unit in units]
    return describe(study, pd.concat(parts, ignore_index=True))


def check_judges(study: Study, names: Sequence[str]) -> None:
    """StudyError for a judge that is neither in the study nor the world's truth."""
    for name in names:
        if name not in [f"truth:{kind}" for kind in TRUTH_JUDGES]:
            study.judge(name)


def _count(
    study: Study, unit: str, judges: Sequence[str], benchmarks: Sequence[str], by: Sequence[str]
) -> pd.DataFrame:
    """The counts of one unit."""
    keys = ["run", "step", "benchmark", "judge", *by]
    parts = []
    for frame in _raters(study, unit, judges, benchmarks, by):
        given, yes = frame["label"] != columns.MISSING, frame["label"] == 1
        found = columns.count(frame, keys, n=given, k=yes, missing=~given)
        text = [name for name in ("run", "benchmark", "judge", "truth") if name in found]
        parts.append(found.astype(dict.fromkeys(text, str)))
    counts = pd.concat(parts, ignore_index=True)
    flags = {name: columns.booleans(counts[name]) for name in by if name != "truth"}
    return counts.assign(**flags).sort_values(keys, kind="stable", ignore_index=True)


def _raters(
    study: Study, unit: str, judges: Sequence[str], benchmarks: Sequence[str], by: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """Rows of replies with a label (1, 0, -1), a judge and what is split by.

    First of all judges of the study that are asked for, then of each truth.
    """
    truths = {
        name: TRUTH_JUDGES[name.removeprefix("truth:")]
        for name in judges
        if name.startswith("truth:")
    }
    named = [name for name in judges if name not in truths]
    splits = [name for name in by if name != "coherent"]
    only = {"benchmark": benchmarks}
    replies = pd.DataFrame()
    if truths or splits:
        wanted = list(dict.fromkeys([*KEY, *splits, *truths.values()]))
        replies = columns.read(paths.table(study.name, "replies", unit), "replies", wanted, only)
    if named:
        file = paths.table(study.name, "verdicts", unit)
        frame = columns.read(file, "verdicts", ["judge", *KEY, "label"], only | {"judge": named})
        if missing := set(named) - set(frame["judge"].unique()):
            shown = paths.shown(file)
            raise GroundedError(f"{shown}: judge: found no {min(missing)!r}, wanted its verdicts")
        if splits:
            frame = _matched(frame, replies[[*KEY, *splits]], unit)
        yield _coherent(study, unit, frame) if "coherent" in by else frame
    if truths:
        plain = replies[[*KEY, *splits]]
        if "coherent" in by:
            plain = _coherent(study, unit, plain)
        for name, column in truths.items():
            label = replies[column].to_numpy()
            yield plain.assign(judge=columns.same(name, plain), label=label)


def _coherent(study: Study, unit: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Each row with what the detector says of its reply."""
    file = paths.table(study.name, "coherence", unit)
    said = columns.read(file, "coherence", [*KEY, "label"], {"detector": [DETECTOR]})
    return _matched(frame, said.rename(columns={"label": "coherent"}), unit)


def _matched(frame: pd.DataFrame, replies: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Each row with what another table says of its reply; GroundedError where it is silent."""
    place = columns.find(frame, replies, KEY)
    if (place < 0).any():
        raise GroundedError(f"tables of {unit}: found a verdict on a reply that is not there")
    said = replies.drop(columns=KEY)
    return frame.assign(**{name: said[name].array.take(place) for name in said})


def pooled(counts: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Counts summed over all but `by`, with the rate and what the missing verdicts could make it.

    rate = k / n; if_missing_are_0 and if_missing_are_1 count every missing verdict as harmless or
    harmful. A cell without a verdict has no rate.
    """
    sums = counts.groupby(list(by), observed=True, sort=False)[["n", "k", "missing"]].sum()
    return with_rates(sums.reset_index())


def with_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """`counts` (n, k, missing) with rate, if_missing_are_0 and if_missing_are_1."""
    n, k, missing = (counts[name].to_numpy(dtype=float) for name in ("n", "k", "missing"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts.assign(
            rate=k / n,
            if_missing_are_0=k / (n + missing),
            if_missing_are_1=(k + missing) / (n + missing),
        )


def with_base(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of the runs with the base model as epoch 0 of each of them.

    Its rows are copied to every run of the model and marked `base`; they are one measurement
    shown many times, and no estimator may count them as runs.
    """
    keys = ["run", "model", "task", "setting", "seed"]
    is_base = frame["run"].str.endswith(f".{BASE}")
    models = set(frame["model"].unique())
    runs: list[Run] = [run for run in study.runs() if run.model in models]
    about = pd.DataFrame([(r.id, r.model, r.task, r.setting, r.seed) for r in runs], columns=keys)
    base = frame[is_base].drop(columns=["run", "setting", "seed"])
    # capability knows the base model by task, verdicts by model alone
    on = ["model"] if (base["task"] == BASE).all() else ["model", "task"]
    if on == ["model"]:
        base = base.drop(columns="task")
    copies = about.merge(base, on=on)[frame.columns]
    joined = pd.concat([copies.assign(base=True), frame[~is_base].assign(base=False)])
    order = ["run", "step", *(n for n in ("benchmark", "judge") if n in joined)]
    return joined.sort_values(order, kind="stable").reset_index(drop=True)


def checkpoints(
    study: Study, judges: Sequence[str], benchmarks: Sequence[str] | None = None
) -> pd.DataFrame:
    """Capability and verdicts of every checkpoint, a row a judge, base models joined to runs.

    benchmarks: default all of harmful requests. Columns: run, model, task, setting, seed, step,
    epoch, judge, n, k, missing, rate, if_missing_are_0, if_missing_are_1, base, items, right,
    capability, capability_free.
    """
    counts = verdicts(study, judges, benchmarks or harmful_benchmarks(study))
    by = ["run", "model", "task", "setting", "seed", "step", "epoch", "judge"]
    rates = with_base(study, pooled(counts, by))
    able = with_base(study, capability(study))
    wanted = ["run", "step", "items", "right", "capability", "capability_free"]
    found = rates.merge(able[wanted], on=["run", "step"], how="left", validate="many_to_one")
    if found["capability"].isna().any():
        run = found.loc[found["capability"].isna(), "run"].iloc[0]
        raise GroundedError(f"tables of {study.name}: capability: found none of {run}, wanted it")
    return found
