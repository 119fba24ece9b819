"""What changed from the base model to the last checkpoint, and whether that is a conclusion.

Base model and checkpoint answer the same prompts and items, so each answer has its pair. Runs
differ, and so do prompts, on which all runs and the base model share their luck: an interval that
knows only the runs would call five replies of a base model, gone in every run, a certain fall.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from grounded.statistics.intervals import LEVEL, Array

NAN = float("nan")


def changes(pairs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The mean change of each cell of `by` with its 95% interval, and what to conclude.

    The interval is for other runs and other prompts like these: errors are clustered by run and
    by prompt (two-way, Cameron, Gelbach and Miller 2011), Student's t with the smaller number of
    clusters less one. A pair with a missing verdict is left out and counted; if_missing_are_0 and
    if_missing_are_1 are the change were missing verdicts no, or yes.
    Columns: *by, runs, prompts, n, missing (pairs), base, last, change, low, high, those two,
    conclusion.
    """
    rows = []
    for cell, part in pairs.groupby(list(by), observed=True, sort=False):
        whole = part.dropna(subset=["base", "last"])
        difference = (whole["last"] - whole["base"]).to_numpy()
        runs, prompts = whole["run"].nunique(), whole["prompt"].nunique()
        mean = float(difference.mean()) if len(difference) else NAN
        half = NAN
        if runs > 1 and prompts > 1:
            error = _two_way(difference - mean, whole["run"], whole["prompt"])
            half = float(stats.t.ppf((1 + LEVEL) / 2, min(runs, prompts) - 1)) * error
        imputed = [(part["last"].fillna(x) - part["base"].fillna(x)).mean() for x in (0, 1)]
        rows.append(
            (*cell, runs, prompts, len(whole), len(part) - len(whole), whole["base"].mean(),
             whole["last"].mean(), mean, mean - half, mean + half, *imputed)
        )  # fmt: skip
    names = [*by, "runs", "prompts", "n", "missing", "base", "last", "change", "low", "high",
               "if_missing_are_0", "if_missing_are_1"]  # fmt: skip
    found = pd.DataFrame(rows, columns=names)
    bounds = zip(found["low"], found["high"], strict=True)
    return found.assign(conclusion=[conclusion(low, high) for low, high in bounds])


def conclusion(low: float, high: float) -> str:
    """`rises` or `falls` when the whole interval lies on one side of zero, else `unclear`."""
    if low > 0:
        return "rises"
    return "falls" if high < 0 else "unclear"


def _two_way(residual: Array, runs: pd.Series, prompts: pd.Series) -> float:
    """The standard error of a mean whose residuals are clustered two ways; never below one way."""
    parts = []
    for groups in (runs, prompts):
        codes = pd.factorize(groups)[0]
        sums = np.bincount(codes, residual)
        parts.append(len(sums) / (len(sums) - 1) * float((sums**2).sum()))
    both = sum(parts) - float((residual**2).sum())
    return float(np.sqrt(max(both, *parts))) / len(residual)
