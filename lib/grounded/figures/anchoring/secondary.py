"""The secondary hypotheses: incoherence, judges, ranking and sensitivity, anchored less fixed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from grounded import anchors
from grounded.anchors.grids import FEWEST
from grounded.anchors.matching import ATTAINED
from grounded.errors import GroundedError
from grounded.figures.anchoring.numbers import CELL, NAN, Arms, pairs
from grounded.statistics import columns, frames
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


def secondary(
    study: Study, both: Arms, said: Mapping[str, pd.DataFrame], draws: int
) -> pd.DataFrame:
    """H2 to H5: a row each, p adjusted by Holm over those that could be measured.

    said: what the study's judges say where the arms stand, of `anchors.opinions`.
    Columns: hypothesis, about, fixed, anchored, difference, low, high, p, p_holm, cells, runs,
    verdict (`helps`, `harms`, `unclear`, or `not measured`), why_not.
    """
    rows: list[dict[str, Any]] = []
    first = next((n for n, j in study.judges.items() if j.kind == "harm"), None)
    second = next((n for n, j in study.judges.items() if j.kind == "compliance"), None)
    broken = anchors.incoherence(study, chosen=both.chosen)
    rows.append({"hypothesis": "H2"} | mean_difference(pairs(both, broken)))
    if first and second:
        differ = anchors.disagreement(said[first], said[second])
        rows.append({"hypothesis": "H3"} | mean_difference(pairs(both, differ)))
    else:
        rows.append({"hypothesis": "H3"} | _none("found no judge of harm and one of compliance"))
    rows.append({"hypothesis": "H4"} | ranking(study))
    rows.append({"hypothesis": "H5"} | sensitivity(study, both, said, draws))
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


def mean_difference(paired: pd.DataFrame) -> dict[str, Any]:
    """Anchored less fixed: the mean over cells of the mean over runs, for other runs like these.

    Runs are independent within and between cells; Student's t with runs less cells degrees of
    freedom.
    """
    rates = paired.groupby([*CELL, "run"], observed=True)[["fixed", "anchored"]].mean()
    moved = (rates["anchored"] - rates["fixed"]).groupby(CELL, observed=True)
    if not moved.ngroups:
        return _none("found no cell with enough runs at its goal")
    means = rates.groupby(CELL, observed=True).mean().mean()
    error = float(np.sqrt((moved.var(ddof=1) / moved.size()).sum()) / moved.ngroups)
    freedom = len(rates) - moved.ngroups
    return {"fixed": means["fixed"], "anchored": means["anchored"],
            **_tested(float(moved.mean().mean()), error, freedom),
            "cells": moved.ngroups, "runs": len(rates), "why_not": ""}  # fmt: skip


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
    spread = (one.tau_high - one.tau_low) / (2 * stats.norm.ppf((1 + LEVEL) / 2))
    p = float(2 * stats.norm.sf(abs(one.tau) / spread)) if spread > 0 else NAN
    return {"fixed": found["fixed"].tau, "anchored": found["anchored"].tau, "difference": one.tau,
            "low": one.tau_low, "high": one.tau_high, "p": p, "cells": both.ngroups,
            "runs": len(values), "why_not": "", "best_fixed": found["fixed"].best,
            "best_anchored": found["anchored"].best}  # fmt: skip


def ranked(study: Study, arm: str) -> pd.DataFrame:
    """Harm of the runs of each method at the middle of its knob: method, run, fixed, anchored.

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
    values = kept.runs[["method", "run"]]
    for name, one in (("fixed", other), ("anchored", matched)):
        rates = anchors.at(harm, one.chosen, "value", "prompt").groupby("run", observed=True)
        values = values.assign(**{name: values["run"].map(rates["value"].mean())})
    return values


def sensitivity(
    study: Study, both: Arms, said: Mapping[str, pd.DataFrame], draws: int, seed: int = 0
) -> dict[str, Any]:
    """H5: the spread of a cell's harm over pairs of benchmark and judge, mean over cells.

    said: as for `secondary`. The interval is that of a bootstrap by run within cell.
    """
    judges = study.language_judges
    benchmarks = frames.harmful_benchmarks(study)
    if len(judges) * len(benchmarks) < 2:
        return _none("found one pair of benchmark and judge, wanted two")
    rates = pd.concat([_rates(said[judge]).assign(judge=judge) for judge in judges])
    spreads, moved = [], []
    draw = np.random.default_rng(seed)
    tables = [_by_pair(rates, one.chosen) for one in (both.fixed, both.anchored)]
    for _, part in both.cells.groupby(CELL, observed=True):
        runs = list(part["run"])
        values = np.stack([table.reindex(runs).to_numpy() for table in tables])
        if not np.isfinite(values).all():
            continue  # a judge that was silent on all prompts of a benchmark
        times = draw.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=draws)
        spreads.append(values.mean(1).std(-1, ddof=1))
        moved.append(np.stack([(times @ arm / len(runs)).std(-1, ddof=1) for arm in values]))
    if not spreads:
        return _none("found no cell with verdicts of every judge on every benchmark")
    fixed, anchored = np.mean(spreads, axis=0)
    new = np.mean(moved, axis=0)
    error = float(np.std(new[1] - new[0], ddof=1))
    return {"fixed": fixed, "anchored": anchored,
            **_tested(float(anchored - fixed), error, len(both.cells) - len(spreads)),
            "cells": len(spreads), "runs": len(both.cells), "why_not": ""}  # fmt: skip


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
    return own.groupby(["run", "benchmark", "judge"], observed=True)["rate"].sum(
        min_count=1
    ).unstack(["benchmark", "judge"])  # fmt: skip


def _tested(difference: float, error: float, freedom: int) -> dict[str, float]:
    if not (error > 0 and freedom >= FEWEST - 1):
        p = 1.0 if error == 0 and difference == 0 else NAN
        return {"difference": difference, "low": NAN, "high": NAN, "p": p}
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return {"difference": difference, "low": difference - half, "high": difference + half, "p": p}


def _none(why: str) -> dict[str, Any]:
    lost = dict.fromkeys(("fixed", "anchored", "difference", "low", "high", "p"), NAN)
    return {**lost, "cells": 0, "runs": 0, "why_not": why}
