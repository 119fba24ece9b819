"""How much runs differ between settings and within them, and the ratio of two such spreads.

Runs of one seed share their luck, whatever their setting: they start from the same adapter and see
the data in the same order. So the variances are of pairs of runs of *different* seeds, by the
method of symmetric differences (Koch 1968, Technometrics 10): half the mean squared difference of
two runs of one setting is the variance between seeds, that of two runs of two settings is the sum
of both. Without bias whatever the distribution and whichever runs are missing, and so at times
negative; of a balanced layout it is what the analysis of variance gives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from grounded.errors import GroundedError
from grounded.statistics.intervals import LEVEL, Array

Layout = tuple[npt.ArrayLike, npt.ArrayLike]  # the settings and the seeds of a cell's runs


def components(
    values: npt.ArrayLike, settings: npt.ArrayLike, seeds: npt.ArrayLike
) -> tuple[Array, Array]:
    """The variance of values (... x runs) between settings, and between seeds of one setting.

    settings, seeds: a label a run. GroundedError where no two runs of different seeds are of one
    setting, or none of two.
    """
    x = np.asarray(values, dtype=float)
    x = x - x.mean(-1, keepdims=True)  # alters nothing but the rounding
    one, other = (pd.factorize(np.asarray(labels))[0] for labels in (settings, seeds))
    unlike = other[:, None] != other
    found = []
    for pairs in (unlike & (one[:, None] == one), unlike & (one[:, None] != one)):
        if not pairs.any():
            raise GroundedError(
                f"spread: found {len(one)} runs of {len({*one})} settings and {len({*other})} "
                "seeds, wanted two settings or more, one of them with two seeds"
            )
        found.append((x**2 @ pairs.sum(0) - ((x @ pairs) * x).sum(-1)) / pairs.sum())
    return found[1] - found[0], found[0]


def shares(readings: npt.ArrayLike, settings: npt.ArrayLike, seeds: npt.ArrayLike) -> Array:
    """`components` (2 x readings x ...) as shares of the whole variance of the runs.

    readings: readings x ... x runs. The whole is the sum of both, in the mean over the readings: so
    cells in which runs differ much and little count alike, and no reading is favoured. nan where no
    two runs differ.
    """
    found = np.array(components(readings, settings, seeds))
    whole: Array = found.sum(0).mean(0)
    with np.errstate(invalid="ignore"):
        return found / whole


class Ratio(NamedTuple):
    """The logarithm of a ratio with its interval and the two-sided p of 0."""

    value: Array
    low: Array
    high: Array
    p: Array


def log_ratio(over: npt.ArrayLike, under: npt.ArrayLike) -> Ratio:
    """log(sum of `over` / sum of `under`) over cells (... x cells), by the jackknife over cells.

    95% interval and p by Student's t with cells less one degrees of freedom. Where a sum is not
    above 0, with all cells or without one, there is no logarithm: then interval and p are Fieller's
    (1954), and -inf stands for nothing left, and nan for no bound. All nan with one cell or none.
    """
    both = np.stack([np.asarray(over, dtype=float), np.asarray(under, dtype=float)])
    cells = both.shape[-1]
    if cells < 2:
        return Ratio(*[np.full(both.shape[1:-1], np.nan)[()]] * 4)
    reach = stats.t.ppf((1 + LEVEL) / 2, cells - 1)
    mean, off = both.mean(-1), both - both.mean(-1, keepdims=True)
    (oo, ou), (_, uu) = np.einsum("a...c,b...c->ab...", off, off) / (cells - 1) / cells
    with np.errstate(divide="ignore", invalid="ignore"):
        left = both.sum(-1, keepdims=True) - both
        each = np.log(np.where(left > 0, left, np.nan))
        error = np.sqrt((cells - 1) * (each[0] - each[1]).var(-1))
        value = np.log(mean[0].clip(0)) - np.log(mean[1].clip(0))
        a, b, c = (mean[i] * mean[j] - reach**2 * s
                   for i, j, s in ((1, 1, uu), (0, 1, ou), (0, 0, oo)))  # fmt: skip
        root = np.where(a > 0, np.sqrt(b**2 - a * c), np.nan)
        none = np.isnan(error)
        low = np.where(none, np.log(((b - root) / a).clip(0)), value - reach * error)
        high = np.where(none, np.log(((b + root) / a).clip(0)), value + reach * error)
        t = np.where(none, (mean[0] - mean[1]) / np.sqrt(oo - 2 * ou + uu), value / error)
    p = 2 * stats.t.sf(np.abs(t), cells - 1)
    return Ratio(*(np.asarray(found)[()] for found in (value, low, high, p)))


def power(
    variances: Array, layouts: Sequence[Layout], ratio: float, differ: float = 0.0,
    worlds: int = 1000, seed: int = 0,
) -> tuple[float, float]:  # fmt: skip
    """How often the test of two ratios finds that settings vary less, and that they vary otherwise.

    variances: cells x 2, between settings and within them, in any unit. layouts: the settings and
    seeds of each cell's runs; settings are a fixed grid whose effects are evenly spaced. ratio: of
    the variance between settings, in the mean over cells; differ: the standard deviation of its
    logarithm from cell to cell. Seeds differ as much in both readings, and independently. p below
    .05 after Holm over the two ratios.
    """
    draw, found = np.random.default_rng(seed), []
    for (between, within), layout in zip(np.clip(variances, 0, None), layouts, strict=True):
        codes, known = pd.factorize(np.asarray(layout[0]))
        grid = np.arange(len(known)) - (len(known) - 1) / 2
        own = ratio * np.exp(differ * draw.normal(size=(worlds, 1)) - differ**2 / 2)
        effect = np.sqrt(between) * grid / grid.std(ddof=1)
        settings = np.stack([np.sqrt(own) * effect, np.ones((worlds, 1)) * effect])
        runs = np.sqrt(within) * draw.normal(size=(2, worlds, len(codes)))
        found.append(shares(settings[..., codes] + runs, *layout))
    first, second = (log_ratio(*part) for part in np.stack(found, axis=-1))
    p, other = first.p, second.p
    clear = (p < (1 - LEVEL) / 2) | ((p < 1 - LEVEL) & (other < (1 - LEVEL) / 2))
    less = clear & (first.value < 0)
    return float(less.mean()), float((clear & ~less).mean())
