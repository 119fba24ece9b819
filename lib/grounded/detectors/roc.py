"""How well a score tells two kinds apart (the area under its ROC curve), whole runs resampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from grounded.errors import GroundedError
from grounded.statistics.intervals import Array, bootstrap

FEW = 0.05  # the share of false alarms at which a detector is also told by what it finds


@dataclass(frozen=True)
class Tally:
    """How often each score was given, by run: to what is sought, and to what is not.

    values: scores, ascending. sought, other: runs x values. A run is whatever is resampled whole.
    """

    values: Array
    sought: Array
    other: Array

    @property
    def defined(self) -> bool:
        """Whether there is both something to find and something to leave alone."""
        return bool(self.sought.sum() and self.other.sum())

    def about(self) -> dict[str, float]:
        """runs, n_sought, n_other, auc and found (at 5% false alarms), both with bounds.

        auc: the chance that what is sought scores above what is not, a tie for half (Mann and
        Whitney). nan where one of the two is not there.
        """
        columns = self._columns()
        found: dict[str, float] = {
            "runs": len(columns),
            "n_sought": int(self.sought.sum()),
            "n_other": int(self.other.sum()),
        }
        for name, statistic in (("auc", areas), ("found", _found)):
            bounds = bootstrap(columns, statistic) if self.defined else (np.nan, np.nan)
            value = statistic(columns.sum(0, keepdims=True))[0] if self.defined else np.nan
            found |= {name: float(value), f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
        return found

    def _columns(self) -> Array:
        """Runs x (sought, then other), without the runs that hold neither."""
        columns = np.hstack([self.sought, self.other])
        return columns[columns.sum(1) > 0]


def area(scores: npt.ArrayLike, sought: npt.ArrayLike, runs: Sequence[object]) -> dict[str, float]:
    """`Tally.about` of these scores: the chance that what is sought looks more suspicious."""
    return tally(scores, sought, runs).about()


def tally(scores: npt.ArrayLike, sought: npt.ArrayLike, runs: Sequence[object]) -> Tally:
    """Count scores (higher is more suspicious; infinite is one) by run and by what is sought.

    GroundedError for a score that is no number.
    """
    given, yes = np.asarray(scores, dtype=float), np.asarray(sought, dtype=bool)
    if np.isnan(given).any():
        raise GroundedError("detectors: score: found NaN, wanted a number or an infinity")
    values, code = np.unique(given, return_inverse=True)
    run = pd.factorize(np.asarray(runs))[0]
    shape = int(run.max()) + 1 if len(run) else 0, len(values)
    counts = [
        np.bincount(run[some] * shape[1] + code[some], minlength=shape[0] * shape[1])
        for some in (yes, ~yes)
    ]
    return Tally(values, *(c.reshape(shape).astype(float) for c in counts))


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
