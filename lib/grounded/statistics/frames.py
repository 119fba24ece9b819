"""From tables to counts: one row a run, checkpoint and whatever else is compared.

Every later number is a function of these counts, so that 0.7 million replies times seven judges
are read once, unit by unit, and never held together. A verdict that is missing is counted as
missing; it is neither harmful nor harmless.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.study import BASE, Run, Study

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
    epochs = {0: 0.0, **study.steps}
    found.insert(found.columns.get_loc("step") + 1, "epoch", found["step"].map(epochs))
    if found["epoch"].isna().any():
        step = found.loc[found["epoch"].isna(), "step"].iloc[0]
        raise GroundedError(
            f"tables of {study.name}: step: found {step}, wanted one of {sorted(epochs)}"
        )
    return found


def capability(study: Study, half: str = "report") -> pd.DataFrame:
    """Capability of each checkpoint on one half of the items: select, report or all.

    Columns: run, model, task, setting, seed, step, epoch, items, right, right_free, capability
    and capability_free (shares in 0..1, strict and format-free). A base model has a row a task.
    """
    parts = []
    for unit in study.units():
        frame = records.read(
            paths.table(study.name, "capability", unit), "capability",
            ["task", "item", "run", "step", "correct", "correct_format_free"],
        )  # fmt: skip
        if half != "all":
            frame = frame[frame["item"] % 2 == (0 if half == "select" else 1)]
        counts = frame.groupby(["task", "run", "step"], observed=True).agg(
            items=("correct", "size"),
            right=("correct", "sum"),
            right_free=("correct_format_free", "sum"),
        )
        parts.append(counts.reset_index().astype({"task": str, "run": str}))
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
    parts = [_count(replies, by) for replies in _units(study, wanted, benchmarks, models, by)]
    return describe(study, pd.concat(parts, ignore_index=True))


def check_judges(study: Study, names: Sequence[str]) -> None:
    """StudyError for a judge that is neither in the study nor the world's truth."""
    for name in names:
        if name not in [f"truth:{kind}" for kind in TRUTH_JUDGES]:
            study.judge(name)


def _units(
    study: Study,
    judges: Sequence[str],
    benchmarks: Sequence[str],
    models: Sequence[str] | None,
    by: Sequence[str],
) -> Iterator[pd.DataFrame]:
    """For each unit: one row a reply and judge, with what is split by."""
    truths = [name for name in judges if name.startswith("truth:")]
    splits = [name for name in by if name != "coherent"]
    for unit in [u for model in models or study.models for u in study.units(model)]:
        frame = _read(study, "verdicts", unit, ["judge", *KEY, "label"], benchmarks)
        frame = frame[frame["judge"].isin(judges)]
        if missing := set(judges) - set(truths) - set(frame["judge"].unique()):
            file = paths.shown(paths.table(study.name, "verdicts", unit))
            raise GroundedError(f"{file}: judge: found no {min(missing)!r}, wanted its verdicts")
        if truths or splits:
            columns = sorted({*splits, *(TRUTH_JUDGES[t.removeprefix("truth:")] for t in truths)})
            replies = _read(study, "replies", unit, [*KEY, *columns], benchmarks)
            stacked = [_matched(frame, replies[[*KEY, *splits]], unit) if splits else frame]
            for name in truths:
                label = replies[TRUTH_JUDGES[name.removeprefix("truth:")]]
                stacked.append(replies[[*KEY, *splits]].assign(judge=name, label=label))
            frame = pd.concat(
                [part.astype({"judge": str, "benchmark": str, "run": str}) for part in stacked],
                ignore_index=True,
            )
        if "coherent" in by:
            coherence = _read(
                study, "coherence", unit, ["detector", *KEY, "label"], benchmarks
            ).rename(columns={"label": "coherent"})
            coherence = coherence[coherence["detector"] == DETECTOR].drop(columns="detector")
            frame = _matched(frame, coherence, unit)
        yield frame


def _read(
    study: Study, table: str, unit: str, columns: list[str], benchmarks: Sequence[str]
) -> pd.DataFrame:
    frame = records.read(paths.table(study.name, table, unit), table, columns)
    return frame[frame["benchmark"].isin(benchmarks)]


def _matched(frame: pd.DataFrame, replies: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Each verdict with what another table says of its reply; GroundedError where it is silent."""
    keys = {name: str for name in ("benchmark", "run")}
    joined = frame.astype(keys).merge(
        replies.astype(keys), on=KEY, how="left", validate="many_to_one", indicator="found"
    )
    if (joined.pop("found") == "left_only").any():
        raise GroundedError(f"tables of {unit}: found a verdict on a reply that is not there")
    return joined


def _count(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    given = frame["label"].notna().to_numpy()
    counted = frame.assign(
        n=given.astype(np.int64),
        k=frame["label"].fillna(False).to_numpy(dtype=np.int64),
        missing=(~given).astype(np.int64),
    )
    keys = ["run", "step", "benchmark", "judge", *by]
    counts = counted.groupby(keys, observed=True, dropna=False)[["n", "k", "missing"]].sum()
    counts = counts.reset_index()
    return counts.astype({"run": str, "benchmark": str, "judge": str})


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
    runs: list[Run] = [r for r in study.runs() if r.model in set(frame["model"])]
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
    columns = ["run", "step", "items", "right", "capability", "capability_free"]
    found = rates.merge(able[columns], on=["run", "step"], how="left", validate="many_to_one")
    if found["capability"].isna().any():
        run = found.loc[found["capability"].isna(), "run"].iloc[0]
        raise GroundedError(f"tables of {study.name}: capability: found none of {run}, wanted it")
    return found
