"""Is capability special? The same comparison anchored on other courses, and under other choices."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from grounded import anchors
from grounded.anchors.grids import FEWEST
from grounded.anchors.matching import ATTAINED, Matched
from grounded.errors import GroundedError
from grounded.figures.anchoring.numbers import CELL, NAN, Arms, arms, enough, no_ratio, pairs, ratio
from grounded.figures.anchoring.secondary import holm
from grounded.statistics.intervals import LEVEL
from grounded.study import Study

CONTROLS = {
    "loss": "training loss", "norm": "norm of the update", "twins": "benign twins (unrelated)",
}  # fmt: skip


def controls(study: Study, both: Arms, harm: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Capability and each control: the ratio to the same fixed epoch, and capability against it.

    Columns: course, about, those of `numbers.ratio`, contrast (capability's log ratio less the
    control's, on the cells and runs of both), contrast_low, contrast_high, p_contrast, p_holm,
    verdict (`special`, `worse`, `unclear`, `not measured`).
    """
    own = pairs(both, harm)
    rows: list[dict[str, Any]] = [
        {"course": "capability", "about": "capability", **ratio(own, draws), "p_contrast": NAN}
    ]
    for course, about in CONTROLS.items():
        row: dict[str, Any] = {"course": course, "about": about}
        try:
            other = pairs(_elsewhere(study, both, course), harm)
            row |= ratio(other, draws) | _contrast(own, other, draws)
        except GroundedError as error:
            row |= no_ratio(str(error))
            row |= dict.fromkeys(("contrast", "contrast_low", "contrast_high", "p_contrast"), NAN)
        rows.append(row)
    found = pd.DataFrame(rows)
    found["p_holm"] = holm(found["p_contrast"])
    clear = found["p_holm"] < 1 - LEVEL
    found["verdict"] = np.where(
        clear, np.where(found["contrast"] < 0, "special", "worse"), "unclear"
    )
    found.loc[found["contrast"].isna(), "verdict"] = "not measured"
    found.loc[found["course"] == "capability", "verdict"] = ""
    return found


def _elsewhere(study: Study, both: Arms, course: str) -> Arms:
    """The runs of the cells where they first pass the course's mean at the fixed place."""
    assert study.anchoring is not None
    if course == "twins" and not anchors.twin_benchmarks(study):
        raise GroundedError("the study has no benign twins whose truth is known")
    path = anchors.progress(study, course).merge(both.cells, on="run")
    at_fixed = path.merge(both.fixed.chosen, on=["run", "step"])
    at_fixed["select"] *= at_fixed["weight"]
    level = at_fixed.groupby([*CELL, "run"], observed=True)["select"].sum()
    goals = level.groupby(CELL, observed=True).mean().rename("kappa").reset_index()
    anchor = study.anchoring.anchor
    matched = anchors.match(path, goals, CELL, anchor.tolerance, "interpolated")
    cells = enough(matched.runs)
    held = both.fixed.runs[both.fixed.runs["run"].isin(set(cells["run"]))]
    chosen = both.fixed.chosen[both.fixed.chosen["run"].isin(set(cells["run"]))]
    return Arms(path, goals, matched, Matched(held, chosen), cells)


def _contrast(own: pd.DataFrame, other: pd.DataFrame, draws: int) -> dict[str, float]:
    """Capability's pooled log ratio less the control's, both on the runs that have both.

    The fixed arm is the same, so the contrast is the log ratio of the two anchored variances.
    """
    keys = ["run", "prompt"]
    same = own.drop(columns="fixed").merge(
        other[[*keys, "anchored"]].rename(columns={"anchored": "fixed"}), on=keys
    )
    found = ratio(same, draws)
    low, high = (np.log(found[name]) for name in ("low", "high"))
    return {"contrast": float(np.log(found["ratio"])), "contrast_low": low,
            "contrast_high": high, "p_contrast": found["p"]}  # fmt: skip


def sensitivities(
    study: Study, both: Arms, harm: pd.DataFrame, said: Mapping[str, pd.DataFrame], draws: int
) -> pd.DataFrame:
    """H1 under other choices, described: choice, value, those of `numbers.ratio`.

    both, harm: of H1. said: what each judge says where the arms stand, of `anchors.opinions`.
    Other goals, rules and metrics, and every other judge, the world's truth among them.
    """
    assert study.anchoring is not None
    asked = study.anchoring
    rows: list[dict[str, Any]] = []

    def add(choice: str, value: str, change: dict[str, Any], own: pd.DataFrame) -> None:
        anchor = asked.anchor.model_copy(update=change)
        same = anchor.metric == asked.anchor.metric
        try:
            path = both.curves if same else anchors.curves(study, anchor)
            found = ratio(pairs(arms(path, anchor) if change else both, own), draws)
        except GroundedError as error:
            found = no_ratio(str(error))
        rows.append({"choice": choice, "value": value, **found})

    for kappa in asked.curve:
        if kappa != asked.anchor.kappa:
            add("goal", f"{kappa:g}", {"kappa": kappa}, harm)
    for rule in anchors.RULES:
        if rule != asked.anchor.rule:
            add("rule", rule.replace("_", " "), {"rule": rule}, harm)
    metric = "format_free" if asked.anchor.metric == "strict" else "strict"
    add("metric", metric.replace("_", "-"), {"metric": metric}, harm)
    for judge, own in said.items():
        if judge != asked.judge:
            add("judge", judge, {}, own)
    return pd.DataFrame(rows)


def depths(study: Study, draws: int) -> pd.DataFrame:
    """Alignment depth of the base model as a factor, described.

    A row a depth and task, and one a depth over its tasks (`all`, with the ratio of H1): depth
    (alignment steps), model, task, runs, attained, harm and harm_fixed at the goal with bounds,
    ratio, low, high. Empty for a study without such an arm.
    """
    assert study.anchoring is not None
    asked = study.anchoring
    if asked.depths is None or study.alignment is None:
        return pd.DataFrame()
    arm = study.arms[asked.depths]
    roots = {study.variants[name].of for name in arm.models if name in study.variants}
    main = anchors.curves(study, asked.anchor)
    main = main[main["model"].isin(roots) & main["task"].isin(arm.tasks)]
    curves = pd.concat([main, anchors.curves(study, asked.anchor, asked.depths)])
    harm = pd.concat([anchors.verdicts(study, asked.judge, arm=a) for a in ("", asked.depths)])
    harm = harm.assign(run=harm["run"].astype(str), prompt=harm["prompt"].astype(str))
    rows = []
    for model, part in curves.groupby("model", sort=False):
        depth = study.alignment_of(str(model)).steps
        about = {"depth": depth, "model": model}
        try:
            both = arms(part, asked.anchor)
        except GroundedError as error:
            rows.append({**about, "task": "all", **no_ratio(str(error))})
            continue
        values = pairs(both, harm)
        rows.append({**about, "task": "all", **ratio(values, draws)})
        arrived = both.anchored.runs
        for task, own in arrived.groupby("task"):
            rates = values[values["task"] == task].groupby("run", observed=True)
            row = {**about, "task": task, "runs": len(own),
                   "attained": int((own["status"] == ATTAINED).sum())}  # fmt: skip
            for name, column in (("harm", "anchored"), ("harm_fixed", "fixed")):
                row |= _mean(name, rates[column].mean())
            rows.append(row)
    return pd.DataFrame(rows).sort_values(["depth", "task"], ignore_index=True)


def _mean(name: str, rates: "pd.Series[float]") -> dict[str, float]:
    """The mean over runs and its interval for other runs; none below five, or if none differs."""
    mean = float(rates.mean()) if len(rates) else NAN
    half = NAN
    if len(rates) >= FEWEST and rates.std() > 0:
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(rates) - 1)) * float(rates.sem())
    return {name: mean, f"{name}_low": max(0.0, mean - half) if half == half else NAN,
            f"{name}_high": min(1.0, mean + half) if half == half else NAN}  # fmt: skip
