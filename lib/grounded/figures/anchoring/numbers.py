"""The primary comparison of does_anchoring_help: the same runs, anchored and at a fixed epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from grounded import anchors
from grounded.anchors.grids import FEWEST
from grounded.anchors.matching import ATTAINED, Matched
from grounded.anchors.spread import NAN
from grounded.errors import GroundedError
from grounded.study import Study
from grounded.study.anchoring import Anchor

CELL = ["model", "task"]
UNCLEAR = "unclear"


@dataclass(frozen=True)
class Arms:
    """Runs at the goal and, the same runs, at a fixed epoch.

    curves, goals: as `anchors.curves` and `anchors.levels` give them. cells: model, task, run, of
    the attained runs of the cells in which enough of them attain.
    """

    curves: pd.DataFrame
    goals: pd.DataFrame
    anchored: Matched
    fixed: Matched
    cells: pd.DataFrame

    @property
    def chosen(self) -> pd.DataFrame:
        """The checkpoints of either arm: run, step."""
        both = pd.concat([self.fixed.chosen, self.anchored.chosen])
        return both[["run", "step"]].drop_duplicates()


def arms(curves: pd.DataFrame, anchor: Anchor) -> Arms:
    """The two arms of a study's runs; GroundedError where no cell has enough runs at its goal."""
    goals = anchors.levels(curves, anchor, CELL)
    matched = anchors.match(curves, goals, CELL, anchor.tolerance, anchor.rule)
    other = anchors.fixed(curves, goals, matched, anchor.rule)
    return Arms(curves, goals, matched, other, enough(matched.runs))


def enough(runs: pd.DataFrame) -> pd.DataFrame:
    """The attained runs of the cells in which enough attain to resample them."""
    attained = runs.loc[runs["status"] == ATTAINED, [*CELL, "run"]]
    size = attained.groupby(CELL, observed=True)["run"].transform("size")
    if not (size >= FEWEST).any():
        raise GroundedError(f"anchor: found no cell with {FEWEST} runs at its goal, wanted one")
    return attained[size >= FEWEST].reset_index(drop=True)


def pairs(both: Arms, values: pd.DataFrame) -> pd.DataFrame:
    """What was measured of every reply, in both arms side by side: `anchors.pairs`.

    values: run, step, prompt, value. A run without a single value in an arm is left out.
    """
    mine = set(both.cells["run"])
    fixed, anchored = (
        anchors.at(values, one.chosen[one.chosen["run"].isin(mine)], "value", "prompt")
        for one in (both.fixed, both.anchored)
    )
    found = anchors.pairs(fixed, anchored, both.cells)
    given = [found["run"].cat.codes[found[arm].notna()].unique() for arm in ("fixed", "anchored")]
    some = np.intersect1d(*given)
    if len(some) == found["run"].cat.codes.nunique():
        return found
    return found[found["run"].isin(set(found["run"].cat.categories[some]))]


def ratio(paired: pd.DataFrame, draws: int, seed: int = 0) -> dict[str, Any]:
    """`anchors.variance_ratio` as a row; without a number, and why, where none can be given."""
    first = paired.iloc[np.unique(paired["run"].cat.codes, return_index=True)[1]]
    size = first.groupby(CELL, observed=True)["run"].transform("size")
    few = set(first.loc[size < FEWEST, "run"])
    try:
        kept = paired[~paired["run"].isin(few)] if few else paired
        if kept.empty:
            raise GroundedError(f"found no cell of {FEWEST} runs")
        return {**vars(anchors.variance_ratio(kept, CELL, draws, seed)), "why_not": ""}
    except GroundedError as error:
        return no_ratio(str(error))


def no_ratio(why: str) -> dict[str, Any]:
    """A row without a ratio, and the reason."""
    lost = dict.fromkeys(("ratio", "low", "high", "p", "by_sums"), NAN)
    return {**lost, "cells": 0, "runs": 0, "conclusion": UNCLEAR, "why_not": why}


def primary(study: Study, both: Arms, harm: pd.DataFrame, draws: int) -> pd.DataFrame:
    """H1, one row: `ratio`, and the smallest effect that this design finds with a power of 80%.

    smallest: with as many cells as take part, their mean number of runs, and the correlation and
    reliability of harm as found, means over those cells, which weigh alike in the test; planned:
    with all cells, all runs, a correlation of 0.5 and no sampling noise, known before any run.
    """
    paired = pairs(both, harm)
    row = ratio(paired, draws)
    table = anchors.variances(paired, CELL)
    counted = table[table["counts"]]
    row["smallest"] = row["correlation"] = row["reliability"] = NAN
    if len(counted):
        kept = paired.merge(counted[CELL], on=CELL)
        row["correlation"] = _correlation(kept)
        total = counted["fixed"] + counted["noise_fixed"]
        found = (counted["fixed"] / total.where(total > 0)).clip(0.05, 1).fillna(1)
        row["reliability"] = float(found.mean())
        row["smallest"] = anchors.smallest_ratio(
            len(counted), int(counted["runs"].mean()),
            float(np.clip(row["correlation"], -0.95, 0.95)), row["reliability"],
        )  # fmt: skip
    runs = len(study.lora) * len(study.seeds)
    row["planned"] = anchors.smallest_ratio(len(study.models) * len(study.tasks), runs, 0.5, 1.0)
    return pd.DataFrame([row])


def _correlation(paired: pd.DataFrame) -> float:
    """Of runs' harm in the two arms, mean over the cells where both vary; 0 where none is."""
    rates = paired.groupby([*CELL, "run"], observed=True)[["fixed", "anchored"]].mean()
    found = [
        float(own.corr().iloc[0, 1])
        for _, own in rates.groupby(CELL, observed=True)
        if (own.std() > 0).all()
    ]
    return float(np.mean(found)) if found else 0.0


def cells(study: Study, both: Arms, harm: pd.DataFrame) -> pd.DataFrame:
    """Every cell: how many runs arrive, harm of both arms, bounds, and its variances.

    Columns: those of `anchors.estimates` of the anchored arm; harm_fixed; capability_fixed; those
    of `anchors.variances` where the cell takes part (sd_fixed, sd_anchored, ratio, counts); and of
    the test that the arms are of one capability: difference, equivalent, smallest.
    """
    assert study.anchoring is not None
    at_goal = anchors.at(harm, both.anchored.chosen, "value", "prompt")
    found = anchors.estimates(both.anchored.runs, at_goal, CELL)
    fixed = anchors.at(harm, both.fixed.chosen, "value", "prompt")
    rates = fixed.groupby("run", observed=True)["value"].mean()
    named = both.anchored.runs.assign(harm_fixed=both.anchored.runs["run"].map(rates))
    named["capability_fixed"] = both.fixed.runs.set_index("run")["report"].reindex(
        named["run"]
    ).to_numpy()  # fmt: skip
    means = named.groupby(CELL, observed=True)[["harm_fixed", "capability_fixed"]].mean()
    found = found.merge(means.reset_index(), on=CELL)
    spread = anchors.variances(pairs(both, harm), CELL)
    for arm in ("fixed", "anchored"):
        spread[f"sd_{arm}"] = np.sqrt(spread[arm].clip(lower=0))
    kept = spread[[*CELL, "sd_fixed", "sd_anchored", "ratio", "counts"]]
    found = found.merge(kept, on=CELL, how="left")
    return found.merge(_equivalence(study, both), on=CELL, how="left")


def _equivalence(study: Study, both: Arms) -> pd.DataFrame:
    """TOST of the two arms' capability in every cell that takes part, on paired items."""
    assert study.anchoring is not None
    anchor = study.anchoring.anchor
    said = anchors.answers(study, anchor)
    one, two = (anchors.at(said, m.chosen, "value", "item") for m in (both.anchored, both.fixed))
    rows = []
    for cell, part in both.cells.groupby(CELL, observed=True):
        runs = set(part["run"])
        found = anchors.tost(one[one["run"].isin(runs)], two[two["run"].isin(runs)],
                             anchor.tolerance)  # fmt: skip
        rows.append((*cell, found.difference, found.equivalent, found.smallest))
    return pd.DataFrame(rows, columns=[*CELL, "difference", "equivalent", "smallest"])


def by_rule(
    study: Study, curves: pd.DataFrame, harm: pd.DataFrame, goals: Sequence[float]
) -> pd.DataFrame:
    """H(kappa): harm of every cell at each goal of the curve, by each of the three rules.

    Columns: those of `anchors.estimates`, share (of the gain, or the accuracy), rule.
    """
    assert study.anchoring is not None
    parts = []
    for share in goals:
        anchor = study.anchoring.anchor.model_copy(update={"kappa": share})
        levels = anchors.levels(curves, anchor, CELL)
        for rule in anchors.RULES:
            try:
                found = anchors.match(curves, levels, CELL, anchor.tolerance, rule)
            except GroundedError:
                continue  # no run of any cell is there
            values = anchors.at(harm, found.chosen, "value", "prompt")
            told = anchors.estimates(found.runs, values, CELL)
            parts.append(told.assign(share=share, rule=rule))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
