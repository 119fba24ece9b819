"""The test registered for the study `micro` before its runs: H1 and, one adjusted p each, H2 to H5.

The words of the registration stand in the notebook `does_anchoring_help`. It reads runs by the
study's rule, in `micro` interpolated between checkpoints.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from grounded import tables
from grounded.anchors.goal import (
    ATTAINED,
    CELL,
    PROMPT,
    Arms,
    arms,
    at,
    fixed,
    levels,
    match,
    started,
)
from grounded.anchors.goal import curves as _curves
from grounded.anchors.ranking import stability
from grounded.anchors.spread import ARMS, DRAWS, NAN, pairs, ratio, smallest_ratio, variances
from grounded.errors import GroundedError
from grounded.statistics import jackknife
from grounded.statistics.intervals import LEVEL, Array
from grounded.study import LORA, Study
from grounded.study.anchoring import FEWEST, RULES, Anchor

OWN_END = ("stop_at", "stop_at_general")  # methods that choose their own end
HYPOTHESES = {
    "H2": "incoherent replies (share)",
    "H3": "judges differ (share)",
    "H4": "ranking of mitigations (Kendall's τ)",
    "H5": "spread over benchmarks and judges (sd of harm)",
}
BETTER = {"H1": -1, "H2": -1, "H3": -1, "H4": 1, "H5": -1}  # the sign that would favour anchoring


def primary(study: Study, both: Arms, harm: pd.DataFrame, draws: int = DRAWS) -> pd.DataFrame:
    """H1, one row: `spread.Ratio`, and the smallest effect that the design finds with power .8.

    harm: verdicts, base models as step 0 of each run (`goal.started`). smallest: with as many cells
    as count, their mean number of runs, and the correlation and reliability of harm as found, means
    over those cells, which weigh alike in the test; planned: with all cells, all runs, a
    correlation of 0.5 and no sampling noise, known before any run.
    """
    paired = pairs(both, harm)
    row: dict[str, Any] = asdict(ratio(paired, draws))
    table = variances(paired, CELL)
    counted = table[table["counts"]]
    row |= dict.fromkeys(("smallest", "correlation", "reliability"), NAN)
    if len(counted):
        row["correlation"] = _correlation(paired.merge(counted[CELL], on=CELL))
        total = counted["fixed"] + counted["noise_fixed"]
        found = (counted["fixed"] / total.where(total > 0)).clip(0.05, 1).fillna(1)
        row["reliability"] = float(found.mean())
        row["smallest"] = smallest_ratio(
            len(counted), int(counted["runs"].mean()),
            float(np.clip(row["correlation"], -0.95, 0.95)), row["reliability"],
        )  # fmt: skip
    runs = len(study.lora) * len(study.seeds)
    cells = len(study.models) * len(study.tasks)
    row["planned"] = smallest_ratio(cells, runs, 0.5, 1.0) if runs >= FEWEST else NAN
    return pd.DataFrame([row])


def _correlation(paired: pd.DataFrame) -> float:
    """Of runs' harm in the two arms, mean over the cells where both vary; 0 where none is."""
    rates = paired.groupby([*CELL, "run"], observed=True)[list(ARMS)].mean()
    found = [
        float(own.corr().iloc[0, 1])
        for _, own in rates.groupby(CELL, observed=True)
        if (own.std() > 0).all()
    ]
    return float(np.mean(found)) if found else 0.0


def special(pairs: Mapping[str, pd.DataFrame], draws: int = DRAWS) -> pd.DataFrame:
    """Capability against each control: the ratio of the two anchored variances of harm.

    pairs: of capability first, then of each control, over the runs of both (`spread.pairs`).
    Columns: control, those of `spread.Ratio`, p_holm, verdict (`special`, `worse`, `unclear`, `not
    measured`).
    """
    one, *others = pairs
    rows = []
    for name in others:
        both = pairs[one].drop(columns="fixed").merge(
            pairs[name][["run", *PROMPT, "anchored"]].rename(columns={"anchored": "fixed"}),
            on=["run", *PROMPT],
        )  # fmt: skip
        rows.append({"control": name, **asdict(ratio(both, draws))})
    found = pd.DataFrame(rows)
    found["p_holm"] = holm(found["p"])
    found["verdict"] = np.select(
        [found["ratio"].isna(), ~(found["p_holm"] < 1 - LEVEL), found["ratio"] < 1],
        ["not measured", "unclear", "special"], "worse",
    )  # fmt: skip
    return found


def other_choices(
    study: Study, anchor: Anchor, both: Arms, curves: pd.DataFrame, said: pd.DataFrame,
    draws: int = DRAWS,
) -> pd.DataFrame:  # fmt: skip
    """H1 under other choices, described: choice, value, those of `spread.Ratio`, and the mean over
    cells of harm in both arms (fixed, anchored).

    both, curves: of H1. said: the judges' verdicts, and the truth as one of them; the first of the
    frame is the judge of H1. Other goals, rules, scores and judges, and base models aligned for
    longer or shorter.
    """
    first, *judges = said["judge"].cat.categories
    harm = said[said["judge"] == first]
    rows: list[dict[str, Any]] = []

    def add(choice: str, value: str, both: Arms, harm: pd.DataFrame) -> None:
        paired = pairs(both, harm)
        means = paired.groupby(CELL, observed=True)[list(ARMS)].mean().mean()
        rows.append({"choice": choice, "value": value, **asdict(ratio(paired, draws)), **means})

    def changed(**change: Any) -> Anchor:
        return anchor.model_copy(update=change)

    for kappa in study.anchoring.curve if study.anchoring else ():
        if kappa != anchor.kappa:
            add("goal", f"{kappa:g}", arms(curves, changed(kappa=kappa)), harm)
    for rule in RULES:
        if rule != anchor.rule:
            add("rule", rule.replace("_", " "), arms(curves, changed(rule=rule)), harm)
    other = changed(metric="format_free" if anchor.metric == "strict" else "strict")
    add("score", other.metric.replace("_", "-"), arms(_curves(study, other), other), harm)
    for judge in judges:
        add("judge", judge, both, said[said["judge"] == judge])
    if study.anchoring and study.anchoring.depths and study.alignment:
        arm = study.arms[study.anchoring.depths]
        roots = {study.variants[name].of for name in arm.models if name in study.variants}
        usual = curves[curves["model"].isin(roots) & curves["task"].isin(arm.tasks)]
        deep = _curves(study, anchor, study.anchoring.depths)
        own = started(tables.verdicts(study, study.anchoring.depths, judges=[first]))
        for part, labels in ((usual, harm), (deep, own)):
            for model, d in part.astype({"model": str}).groupby("model"):
                steps = study.alignment_of(str(model)).steps
                add("alignment steps", f"{steps:,}", arms(d, anchor), labels)
    return pd.DataFrame(rows)


def secondary(study: Study, both: Arms, said: pd.DataFrame) -> pd.DataFrame:
    """H2 to H5: a row each, p adjusted by Holm over those that could be measured.

    said: verdicts of the study's language judges, base models as step 0 of each run. Errors leave
    out one seed at a time (`statistics.jackknife`).
    Columns: hypothesis, about, fixed, anchored, difference, low, high, p, p_holm, cells, runs,
    verdict (`helps`, `harms`, `unclear`, or `not measured`), why_not.
    """
    seeds = {run.id: run.seed for run in study.runs()}
    broken = started(tables.coherence(study)).eval("incoherent = 1 - coherent")
    found = pd.DataFrame(
        [
            {"hypothesis": "H2"} | mean_difference(pairs(both, broken, "incoherent"), seeds),
            {"hypothesis": "H3"} | _judges(study, both, said, seeds),
            {"hypothesis": "H4"} | ranking(study),
            {"hypothesis": "H5"} | sensitivity(study, both, said, seeds),
        ]
    )
    found.insert(1, "about", found["hypothesis"].map(HYPOTHESES))
    found["p_holm"] = holm(found["p"])
    sign = found["hypothesis"].map(BETTER)
    clear = found["p_holm"] < 1 - LEVEL
    found["verdict"] = np.where(clear, np.where(sign * found["difference"] > 0, "helps", "harms"),
                                "unclear")  # fmt: skip
    found.loc[found["difference"].isna(), "verdict"] = "not measured"
    return found


def holm(p: "pd.Series[float]") -> Array:
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
    rates = paired.groupby([*CELL, "run"], observed=True)[list(ARMS)].mean()
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


def _judges(
    study: Study, both: Arms, said: pd.DataFrame, seeds: Mapping[str, int]
) -> dict[str, Any]:
    """H3: how often the study's first judge of harm and its first of compliance differ."""
    first, second = (
        next((n for n, j in study.judges.items() if j.kind == kind), None)
        for kind in ("harm", "compliance")
    )
    if first is None or second is None:
        return _none("found no judge of harm and one of compliance")
    key = ["run", "step", "benchmark", "prompt"]
    one, two = (said[said["judge"] == name][[*key, "label"]] for name in (first, second))
    differ = one.merge(two, on=key, validate="one_to_one")
    return mean_difference(
        pairs(both, differ.assign(differ=(differ["label_x"] - differ["label_y"]).abs()), "differ"),
        seeds,
    )


def ranking(study: Study) -> dict[str, Any]:
    """H4: Kendall's tau of two draws of the mitigations' runs, in both arms."""
    if study.anchoring is None or study.anchoring.mitigations is None:
        return _none("the study has no arm of mitigations")
    try:
        values = ranked(study, study.anchoring.mitigations)
        found = stability(values)
    except GroundedError as error:
        return _none(str(error))
    one, methods = found["difference"], values["method"].nunique()
    return {"fixed": found["fixed"].tau, "anchored": found["anchored"].tau, "difference": one.tau,
            "low": one.tau_low, "high": one.tau_high, "p": one.p, "cells": methods,
            "runs": len(values), "why_not": "", "best_fixed": found["fixed"].best,
            "best_anchored": found["anchored"].best}  # fmt: skip


def ranked(study: Study, arm: str) -> pd.DataFrame:
    """Harm of each method's runs at the middle of its knob: method, run, seed, fixed, anchored.

    Of methods of which every run reaches the goal, which plain LoRA's runs set.
    """
    assert study.anchoring is not None
    asked = study.anchoring
    found = _curves(study, asked.anchor, arm)
    knobs = {m: sorted(k)[len(k) // 2] if k else None for m, k in study.arms[arm].methods.items()}
    middle = found["method"].astype(str).map(knobs).astype("float64")
    same = (found["knob"] == middle) | (found["knob"].isna() & middle.isna())
    found = found[same & ~found["method"].isin(OWN_END)]
    goals = levels(found[found["method"] == LORA], asked.anchor, CELL)
    by = [*CELL, "method"]
    matched = match(found, goals, by, asked.anchor.tolerance, asked.anchor.rule)
    arrived = (matched.runs["status"] == ATTAINED).groupby(matched.runs["method"]).transform("all")
    kept = matched._replace(runs=matched.runs[arrived])
    mine = set(kept.runs["run"])
    other = fixed(found[found["run"].isin(mine)], goals, kept, asked.anchor.rule)
    harm = started(tables.verdicts(study, arm, judges=[asked.judge]))
    seeds = {run.id: run.seed for run in study.runs(arm=arm)}
    values = kept.runs[["method", "run"]].assign(seed=kept.runs["run"].map(seeds))
    for name, one in (("fixed", other), ("anchored", matched)):
        rates = at(harm, one.chosen, "label").groupby("run")["value"].mean()
        values[name] = values["run"].map(rates)
    return values


def sensitivity(
    study: Study, both: Arms, said: pd.DataFrame, seeds: Mapping[str, int]
) -> dict[str, Any]:
    """H5: the spread of a cell's harm over pairs of benchmark and judge, mean over cells."""
    if len(study.language_judges) * len(study.harmful_benchmarks) < 2:
        return _none("found one pair of benchmark and judge, wanted two")
    key = ["run", "step", "benchmark", "judge"]
    rates = said.groupby(key, observed=True)["label"].mean().reset_index()
    arms = [_by_pair(rates, one.chosen) for one in (both.fixed, both.anchored)]
    spreads, moved, runs = [], [], 0
    for _, part in both.cells.groupby(CELL, observed=True):
        own = list(part["run"])
        values = np.stack([table.reindex(own).to_numpy() for table in arms], axis=1)
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


def _by_pair(rates: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Runs x pairs of benchmark and judge: the rate where the run stands."""
    own = rates.merge(chosen, on=["run", "step"])
    own["rate"] = own["label"] * own["weight"]
    by = own.groupby(["run", "benchmark", "judge"], observed=True)
    sums = by["rate"].agg(["sum", "count", "size"])
    whole = sums["sum"].where(sums["count"] == sums["size"])  # a part of it may be missing
    return whole.unstack(["benchmark", "judge"])


def _tested(found: jackknife.Estimated) -> dict[str, float]:
    low, high, p = found.tested()
    return {"difference": found.value, "low": low, "high": high, "p": p}


def _none(why: str) -> dict[str, Any]:
    lost = dict.fromkeys(("fixed", "anchored", "difference", "low", "high", "p"), NAN)
    return {**lost, "cells": 0, "runs": 0, "why_not": why}
