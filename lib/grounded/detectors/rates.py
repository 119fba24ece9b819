"""Shares with intervals that resample whole runs and never claim certainty."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from grounded.statistics import rates_by_run, wilson


def rates(counts: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`rates_by_run`, with Wilson's interval where no resampling could vary.

    counts: run, *by, n, k, missing. Where all verdicts of a cell are alike every draw is, too: the
    interval is Wilson's, of as many independent verdicts as runs gave one.
    """
    found = rates_by_run(counts, by)
    given = counts[counts["n"] > 0].groupby(list(by), observed=True)["run"].nunique()
    runs = found.join(given.rename("given"), on=list(by))["given"].fillna(0)
    bounds = wilson(np.where(found["k"] > 0, runs, 0), runs)  # nan without a verdict
    low, high = (bound.round(12) for bound in bounds)  # 0 is 0, not 1e-17
    alike = (found["k"] == 0) | (found["k"] == found["n"])
    return found.assign(
        low=np.where(alike, low, found["low"]), high=np.where(alike, high, found["high"])
    )
