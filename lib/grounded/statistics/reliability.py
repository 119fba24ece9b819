"""How far a judge can be trusted: against the truth, which way it errs, and against its successor.

All from the four counts of `agreement` (tp, fp, fn, tn), summed over whole runs, so that every
interval is one of resampling runs.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from grounded.statistics.agreement import CELLS, estimates
from grounded.statistics.agreement import MEASURES as _BY_SUMS
from grounded.statistics.agreement import alpha as alphas
from grounded.statistics.intervals import Array

Statistic = Callable[[Array], Array]


MEASURES: dict[str, Statistic] = {
    **_BY_SUMS,
    "alpha": alphas,
    "false_yes": lambda s: s[:, 1] / (s[:, 1] + s[:, 2]),  # the share of its errors that say yes
    "bias": lambda s: (s[:, 1] - s[:, 2]) / s.sum(1),  # its rate of yes less the true one
}


def cells(counts: pd.DataFrame, truth: str, by: list[str]) -> pd.DataFrame:
    """The four counts of each cell, from counts (n verdicts, k of them yes) split by `truth`."""
    yes = counts[truth].astype(bool)
    four = counts[by].assign(
        tp=counts["k"].where(yes, 0),
        fp=counts["k"].where(~yes, 0),
        fn=(counts["n"] - counts["k"]).where(yes, 0),
        tn=(counts["n"] - counts["k"]).where(~yes, 0),
    )
    return four.groupby(by, observed=True, sort=False)[list(CELLS)].sum().reset_index()


def against_truth(counts: pd.DataFrame, truth: str, by: Sequence[str]) -> pd.DataFrame:
    """A judge against the truth in each cell of `by`.

    counts: run, *by, truth (bool), n, k, missing. Columns: *by, runs, n, missing, tp, fp, fn, tn,
    each of `MEASURES` with its `_low` and `_high`; nan where a cell holds nothing to tell it from.
    A missing verdict is left out of the four counts.
    """
    rows = []
    for cell, part in counts.groupby(list(by), observed=True, sort=False):
        runs = cells(part, truth, ["run"])[list(CELLS)].to_numpy(dtype=float)
        sums = {name: int(total) for name, total in zip(CELLS, runs.sum(0), strict=True)}
        about = {"runs": len(runs), "n": sum(sums.values()), "missing": int(part["missing"].sum())}
        found = estimates(runs, MEASURES)
        rows.append({**dict(zip(by, cell, strict=True)), **about, **sums, **found})
    return pd.DataFrame(rows)


def difference(first: Array, second: Array, statistics: Sequence[str]) -> dict[str, float]:
    """What a second judge's measure is above the first's, on the same replies of the same runs.

    first, second: runs x (tp, fp, fn, tn). The runs are resampled for both at once, so what both
    judges find hard in a run does not widen the interval of their difference.
    """
    both = np.column_stack([first, second])
    return estimates(both, {name: _less(MEASURES[name]) for name in statistics})


def _less(statistic: Statistic) -> Statistic:
    return lambda sums: statistic(sums[:, 4:]) - statistic(sums[:, :4])


def four(
    yes: npt.ArrayLike, truth: npt.ArrayLike, weight: npt.ArrayLike, runs: pd.Series | Array
) -> Array:
    """The four counts of each run, from verdicts and truths (0/1, none missing) with weights."""
    said, holds = np.asarray(yes, dtype=bool), np.asarray(truth, dtype=bool)
    codes, names = pd.factorize(runs)
    place = 4 * codes.astype(np.int64) + 2 * ~said + ~holds  # tp, fp, fn, tn
    counts = np.bincount(place, np.asarray(weight, dtype=float), 4 * len(names))
    return counts.astype(float).reshape(len(names), 4)
