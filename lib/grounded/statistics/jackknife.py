"""Errors of numbers whose runs share seeds: what moves when one seed is left out at a time.

Runs of one seed start from the same adapter and see the data in the same order, whatever their
setting, and methods that work on finished checkpoints share them: they are no independent runs.
The jackknife by group (Efron and Tibshirani 1993, ch. 11) needs no model of how much they share.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from grounded.statistics.intervals import LEVEL, Array


class Estimated(NamedTuple):
    """A number, its standard error, and the degrees of freedom of Student's t."""

    value: float
    error: float
    freedom: float

    def tested(self, level: float = LEVEL) -> tuple[float, float, float]:
        """Its interval and two-sided p of 0; nan where no error is known or there is none."""
        if self.error == 0 and self.value == 0:
            return 0.0, 0.0, 1.0
        if not (self.error > 0 and self.freedom > 0):
            return float("nan"), float("nan"), float("nan")
        half = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error
        p = float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))
        return self.value - half, self.value + half, p


def error(left_out: npt.ArrayLike) -> float:
    """The standard error of a number from its values without each of the groups."""
    found = np.asarray(left_out, dtype=float)
    return float(np.sqrt((len(found) - 1) * found.var()))


def estimate(
    values: Array, groups: Sequence[object], statistic: Callable[[Array], float] = np.mean
) -> Estimated:
    """A statistic of runs (rows of `values`) in groups; groups less one degrees of freedom."""
    codes, names = pd.factorize(np.asarray(groups))
    if len(names) < 2:
        return Estimated(float(statistic(values)), float("nan"), 0)
    left_out = [statistic(values[codes != g]) for g in range(len(names))]
    return Estimated(float(statistic(values)), error(left_out), len(names) - 1)


def pooled(cells: Sequence[Estimated]) -> Estimated:
    """The mean of cells that share nothing; degrees of freedom by Satterthwaite (1946)."""
    parts = np.array([cell.error**2 for cell in cells])
    freedom = np.array([cell.freedom for cell in cells])
    value, total = float(np.mean([cell.value for cell in cells])), float(parts.sum())
    if not total > 0:
        return Estimated(value, float(np.sqrt(total)) / len(cells), float(freedom.sum()))
    return Estimated(
        value, float(np.sqrt(total)) / len(cells), float(total**2 / (parts**2 / freedom).sum())
    )
