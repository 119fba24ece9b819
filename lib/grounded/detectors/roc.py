"""How well a score tells two kinds apart (the area under its ROC curve), whole runs resampled."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from grounded.errors import GroundedError
from grounded.statistics.agreement import estimates
from grounded.statistics.intervals import Array

FEW = 0.05  # the share of false alarms at which a detector is also told by what it finds


def area(scores: npt.ArrayLike, sought: npt.ArrayLike, runs: Sequence[object]) -> dict[str, float]:
    """How well scores (higher is more suspicious) tell what is sought from the others.

    runs, n_sought, n_other, auc and found (at 5% false alarms), both with bounds. auc: the chance
    that what is sought scores above what is not, a tie for half (Mann and Whitney). nan where one
    of the two is not there. GroundedError for a score that is no number.
    """
    counts = tally(scores, sought, runs)
    yes, no = (int(part.sum()) for part in np.hsplit(counts, 2))
    about = {"runs": len(counts), "n_sought": yes, "n_other": no}
    return about | estimates(counts, {"auc": areas, "found": _found})


def tally(scores: npt.ArrayLike, sought: npt.ArrayLike, runs: Sequence[object]) -> Array:
    """How often each score was given, ascending; infinite is one: to what is sought, then to the
    others. runs x 2 scores; a run is whatever is resampled whole."""
    given, yes = np.asarray(scores, dtype=float), np.asarray(sought, dtype=bool)
    if np.isnan(given).any():
        raise GroundedError("detectors: score: found NaN, wanted a number or an infinity")
    values, code = np.unique(given, return_inverse=True)
    run, names = pd.factorize(np.asarray(runs))
    shape = len(names), 2 * len(values)
    place = run * shape[1] + ~yes * len(values) + code
    return np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape).astype(float)


def areas(sums: Array) -> Array:
    """The area under the curve of each row of counts (what is sought, then the others)."""
    sought, other = np.hsplit(sums, 2)
    below = other.cumsum(1) - other / 2
    return (sought * below).sum(1) / (sought.sum(1) * other.sum(1))


def at(sums: Array, false: npt.ArrayLike) -> Array:
    """The share found at these shares of false alarms, rows x shares.

    Between two thresholds the curve is straight, as if ties were broken by chance.
    """
    sought, other = (part[:, ::-1].cumsum(1) for part in np.hsplit(sums, 2))
    wanted = np.atleast_1d(np.asarray(false, dtype=float))
    rows = np.full((len(sums), len(wanted)), np.nan)
    start = np.zeros(1)
    for row, (hits, alarms) in enumerate(zip(sought, other, strict=True)):
        if hits[-1] and alarms[-1]:
            x = np.concatenate([start, alarms / alarms[-1]])
            y = np.concatenate([start, hits / hits[-1]])
            rows[row] = np.interp(wanted, x, y)
    return rows


def _found(sums: Array) -> Array:
    return at(sums, FEW)[:, 0]
