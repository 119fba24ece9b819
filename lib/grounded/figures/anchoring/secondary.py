"""The secondary hypotheses: incoherence, judges, ranking and sensitivity, anchored less fixed."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from grounded import anchors
from grounded.anchors.matching import ATTAINED
from grounded.errors import GroundedError
from grounded.figures.anchoring.numbers import CELL, NAN, Arms, pairs
from grounded.statistics import columns, frames, jackknife
from grounded.statistics.intervals import LEVEL, Array
from grounded.study import LORA, Study

OWN_END = ("stop_at", "stop_at_general")  # methods that choose their own end
HYPOTHESES = {
    "H2": "incoherent replies (share)",
    "H3": "judges differ (share)",
    "H4": "ranking of mitigations (Kendall's τ)",
    "H5": "spread over benchmarks and judges (sd of harm)",
}
BETTER = {"H2": -1, "H3": -1, "H4": 1, "H5": -1}  # the sign that would favour anchoring


def secondary(study: Study, both: Arms, said: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """H2 to H5: a row each, p adjusted by Holm over those that could be measured.

    Errors leave out one seed at a time (`statistics.jackknife`).
    said: what the study's judges say where the arms stand, of `anchors.opinions`.
    Columns: hypothesis, about, fixed, anchored, difference, low, high, p, p_holm, cells, runs,
    verdict (`helps`, `harms`, `unclear`, or `not measured`), why_not.
    """
    rows: list[dict[str, Any]] = []
    first = next((n for n, j in study.judges.items() if j.kind == "harm"), None)
    second = next((n for n, j in study.judges.items() if j.kind == "compliance"), None)
    seeds = {run.id: run.seed for run in study.runs()}
    broken = anchors.incoherence(study, chosen=both.chosen)
    rows.append({"hypothesis": "H2"} | mean_difference(pairs(both, broken), seeds))
    if first and second:
        differ = anchors.disagreement(said[first], said[second])
        rows.append({"hypothesis": "H3"} | mean_difference(pairs(both, differ), seeds))
    else:
        rows.append({"hypothesis": "H3"} | _none("found no judge of harm and one of compliance"))
    rows.append({"hypothesis": "H4"} | ranking(study))
    rows.append({"hypothesis": "H5"} | sensitivity(study, both, said, seeds))
    found = pd.DataFrame(rows)
    found.insert(1, "about", found["hypothesis"].map(HYPOTHESES))
    found["p_holm"] = holm(found["p"])
    sign = found["hypothesis"].map(BETTER)
    clear = found["p_holm"] < 1 - LEVEL
    found["verdict"] = np.where(clear, np.where(sign * found["difference"] > 0, "helps", "harms"),
                                "unclear")  # fmt: skip
    found.loc[found["difference"].isna(), "verdict"] = "not measured"
    return found


def holm(p: pd.Series) -> Array:
    """p adjusted by Holm's method over those that are defined."""
    adjusted = np.full(len(p), NAN)
    given = p.notna().to_numpy()
    if given.any():
        adjusted[given] = multipletests(p[given], method="holm")[1]
    return adjusted


def mean_difference(paired: pd.DataFrame, seeds: Mapping[str, int]) -> dict[str, Any]:
    """Anchored less fixed: the mean over cells of the mean over runs, for other seeds like these.

    seeds: of each run.
    """
    rates = paired.groupby([*CELL, "run"], observed=True)[["fixed", "anchored"]].mean()
    if not len(rates):
        return _none("found no cell with enough runs at its goal")
    moved = (rates["anchored"] - rates["fixed"]).groupby(CELL, observed=True)
    means = rates.groupby(CELL, observed=True).mean().mean()
    found = jackknife.pooled(
        [
            jackknife.estimate(own.to_numpy(), _groups(own.index.get_level_values("run"), seeds))
            for _, own in moved
        ]
    )
    return {"fixed": means["fixed"], "anchored": means["anchored"], **_tested(found),
            "cells": moved.ngroups, "runs": len(rates), "why_not": ""}  # fmt: skip


def _groups(runs: Iterable[str], seeds: Mapping[str, int]) -> list[Hashable]:
    """What the runs of a cell are left out by: their seed, or each alone where all have one."""
    named: list[Hashable] = [seeds[run] for run in runs]
    return named if len(set(named)) > 1 else list(range(len(named)))


def ranking(study: Study) -> dict[str, Any]:
    """H4: Kendall's tau of two draws of the mitigations' runs, in both arms."""
    assert study.anchoring is not None
    arm = study.anchoring.mitigations
    if arm is None:
        return _none("the study has no arm of mitigations")
    values = ranked(study, arm)
    try:
        found = anchors.stability(values)
    except GroundedError as error:
        return _none(str(error))
    one, both = found["difference"], values.groupby("method", observed=True)
    return {"fixed": found["fixed"].tau, "anchored": found["anchored"].tau, "difference": one.tau,
            "low": one.tau_low, "high": one.tau_high, "p": one.p, "cells": both.ngroups,
            "runs": len(values), "why_not": "", "best_fixed": found["fixed"].best,
            "best_anchored": found["anchored"].best}  # fmt: skip


def ranked(study: Study, arm: str) -> pd.DataFrame:
    """Harm of each method's runs at the middle of its knob: method, run, seed, fixed, anchored.

    Of methods of which every run reaches the goal, which plain LoRA's runs set.
    """
    assert study.anchoring is not None
    asked = study.anchoring
    curves = anchors.curves(study, asked.anchor, arm)
    knobs = {m: sorted(k)[len(k) // 2] if k else None for m, k in study.arms[arm].methods.items()}
    middle = curves["method"].map(knobs).astype("float64")
    same = (curves["knob"] == middle) | (curves["knob"].isna() & middle.isna())
    curves = curves[same & ~curves["method"].isin(OWN_END)]
    goals = anchors.levels(curves[curves["method"] == LORA], asked.anchor, CELL)
    matched = anchors.match(curves, goals, [*CELL, "method"], asked.anchor.tolerance,
                            asked.anchor.rule)  # fmt: skip
    arrived = (matched.runs["status"] == ATTAINED).groupby(matched.runs["method"]).transform("all")
    kept = matched._replace(runs=matched.runs[arrived])
    other = anchors.fixed(curves[curves["run"].isin(set(kept.runs["run"]))], goals, kept,
                          asked.anchor.rule)  # fmt: skip
    harm = anchors.verdicts(study, asked.judge, arm=arm)
    seeds = {run.id: run.seed for run in study.runs(arm=arm)}
    values = kept.runs[["method", "run"]].assign(seed=kept.runs["run"].map(seeds))
    for name, one in (("fixed", other), ("anchored", matched)):
        rates = anchors.at(harm, one.chosen, "value", "prompt").groupby("run", observed=True)
        values = values.assign(**{name: values["run"].map(rates["value"].mean())})
    return values


def sensitivity(
    study: Study, both: Arms, said: Mapping[str, pd.DataFrame], seeds: Mapping[str, int]
) -> dict[str, Any]:
    """H5: the spread of a cell's harm over pairs of benchmark and judge, mean over cells.

    said: as for `secondary`. seeds: of each run.
    """
    judges = study.language_judges
    benchmarks = frames.harmful_benchmarks(study)
    if len(judges) * len(benchmarks) < 2:
        return _none("found one pair of benchmark and judge, wanted two")
    rates = pd.concat([_rates(said[judge]).assign(judge=judge) for judge in judges])
    tables = [_by_pair(rates, one.chosen) for one in (both.fixed, both.anchored)]
    spreads, moved, runs = [], [], 0
    for _, part in both.cells.groupby(CELL, observed=True):
        own = list(part["run"])
        values = np.stack([table.reindex(own).to_numpy() for table in tables], axis=1)
        if not np.isfinite(values).all():
            continue  # a judge that was silent on all prompts of a benchmark
        runs += len(own)
        spreads.append(_spread(values))
        moved.append(
            jackknife.estimate(values, _groups(own, seeds), lambda v: np.diff(_spread(v))[0])
        )
    if not spreads:
        return _none("found no cell with verdicts of every judge on every benchmark")
    fixed, anchored = np.mean(spreads, axis=0)
    return {"fixed": fixed, "anchored": anchored, **_tested(jackknife.pooled(moved)),
            "cells": len(spreads), "runs": runs, "why_not": ""}  # fmt: skip


def _spread(values: Array) -> Array:
    """The spread over pairs of the mean of runs, in each arm (values: runs x arms x pairs)."""
    found: Array = values.mean(0).std(-1, ddof=1)
    return found


def _rates(said: pd.DataFrame) -> pd.DataFrame:
    """A judge's rate at each checkpoint on each benchmark; nan where it is silent on all of it."""
    given = said["value"].notna()
    found = columns.count(said, ["run", "step", "benchmark"], n=given, k=said["value"] == 1)
    found["rate"] = (found["k"] / found["n"]).where(found["n"] > 0)
    return found.astype({"run": str, "benchmark": str})


def _by_pair(rates: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Runs x pairs of benchmark and judge: the rate where the run stands."""
    own = rates[["run", "step", "benchmark", "judge", "rate"]].merge(chosen, on=["run", "step"])
    own["rate"] *= own["weight"]
    sums = own.groupby(["run", "benchmark", "judge"], observed=True)["rate"].agg(
        ["sum", "count", "size"]
    )
    whole = sums["sum"].where(sums["count"] == sums["size"])  # a part of it may be missing
    return whole.unstack(["benchmark", "judge"])


def _tested(found: jackknife.Estimated) -> dict[str, float]:
    low, high, p = found.tested()
    return {"difference": found.value, "low": low, "high": high, "p": p}


def _none(why: str) -> dict[str, Any]:
    lost = dict.fromkeys(("fixed", "anchored", "difference", "low", "high", "p"), NAN)
    return {**lost, "cells": 0, "runs": 0, "why_not": why}
