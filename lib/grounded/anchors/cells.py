"""Harm at the goal for each cell: the estimate, its interval, and what censored runs hide.

The unit is the run: a cell's harm is the mean of its runs' rates. An interval is for other runs
and other prompts, because all runs share the luck of the prompts.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from grounded.anchors.grids import FEWEST, check_runs, grids, noise, rates
from grounded.anchors.matching import ATTAINED, BASE_ABOVE, CENSORED, NO_GAIN, SKIPPED
from grounded.statistics.intervals import LEVEL, Array

NAN = float("nan")


def estimates(runs: pd.DataFrame, values: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Harm of each cell's runs, with a 95% interval for other runs and prompts like these.

    runs: `Matched.runs`. values: `matching.at` of the verdicts, of the anchored or the fixed arm.
    Columns: *by, runs, attained, censored, skipped (counts), attainment (share of the runs), flag,
    kappa, capability (mean on the reporting half), prompts, missing, harm, low, high,
    if_missing_are_0, if_missing_are_1, least, most, least_low, most_high.
    harm is of the attained runs alone. least and most are the mean over all runs if every run
    without a value had harm 0, or 1: whatever those runs would have shown, the mean of all lies
    between (Manski 1990); least_low and most_high are the outer ends of the intervals of these.
    low and high are nan where nothing varies.
    flag: `base_above` or `no_gain` (the cell cannot be anchored: no bounds), `no_run` (none
    attains), `few` (fewer than 5 attain: no interval), or empty. GroundedError for a cell of fewer
    than 5 runs.
    """
    rows = []
    cells = runs.groupby(list(by), observed=True)
    number = cells.ngroup()[runs["status"] == ATTAINED].set_axis(
        runs.loc[runs["status"] == ATTAINED, "run"]
    )
    measured = dict(list(values.groupby(values["run"].map(number).astype(float))))
    for at, (cell, part) in enumerate(cells):
        check_runs(len(part), "cell " + ", ".join(map(str, cell)))
        counts = {s: int((part["status"] == s).sum()) for s in (ATTAINED, CENSORED, SKIPPED)}
        attained = sorted(part.loc[part["status"] == ATTAINED, "run"])
        own = measured.get(at, values[:0])
        seen, least, most = grids(own, attained, ("value", "least", "most"))
        flag = _flag(part["status"])
        row = {
            **dict(zip(by, cell, strict=True)), "runs": len(part), **counts,
            "attainment": len(attained) / len(part), "flag": flag,
            "kappa": part["kappa"].mean(), "capability": part["report"].mean(),
            "prompts": seen.shape[1], "missing": int(np.isnan(seen).sum()),
        }  # fmt: skip
        seen = seen[~np.isnan(seen).all(1)]  # a run without a verdict is hidden like a censored one
        row["harm"], low, high = interval(seen)
        # where no run and no prompt differs from another, nothing tells how far others would
        row["low"], row["high"] = (low, high) if low < high else (NAN, NAN)
        row["if_missing_are_0"], row["if_missing_are_1"] = interval(least)[0], interval(most)[0]
        hidden = len(part) - len(seen)
        hopeless = flag in (BASE_ABOVE, NO_GAIN)
        row["least"], row["least_low"], _ = (
            [NAN] * 3 if hopeless else interval(seen, [0.0] * hidden)
        )
        row["most"], _, row["most_high"] = [NAN] * 3 if hopeless else interval(seen, [1.0] * hidden)
        rows.append(row)
    return pd.DataFrame(rows)


def interval(seen: Array, hidden: Sequence[float] = ()) -> tuple[float, float, float]:
    """The mean rate of runs and its 95% interval for other runs and other prompts.

    seen: runs x prompts, nan where missing, every run with a verdict; hidden: rates put in for
    runs that have none. Its variance is that of resampling runs, plus that of resampling prompts,
    less what both count: the large-draw limit of a two-way bootstrap that does not count twice
    (Cameron, Gelbach and Miller 2011), never below either part. Student's t as
    `statistics.paired` has it. nan where there is no run; no bounds below 5 runs or 2 prompts.
    """
    each = np.concatenate([rates(seen), np.asarray(hidden, dtype=float)])
    runs, prompts = len(each), seen.shape[1]
    if runs == 0:
        return NAN, NAN, NAN
    mean = float(each.mean())
    if runs < FEWEST or (len(seen) and prompts < 2):
        return mean, NAN, NAN
    by_run, by_prompt, shared, freedom = float(each.var(ddof=1)) / runs, 0.0, 0.0, runs - 1
    if len(seen):
        moves = noise(seen)
        by_prompt = float(moves.sum()) / runs**2
        shared = float(np.trace(moves) - moves.sum() / runs) / (runs * (runs - 1))
        freedom = min(runs, prompts) - 1
    error = np.sqrt(max(by_run + by_prompt - shared, by_run, by_prompt))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * error)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _flag(status: "pd.Series[str]") -> str:
    for hopeless in (BASE_ABOVE, NO_GAIN):
        if (status == hopeless).any():
            return hopeless
    attained = int((status == ATTAINED).sum())
    return "no_run" if attained == 0 else "few" if attained < FEWEST else ""
