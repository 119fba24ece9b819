"""Is the order of methods the same in two halves of the seeds? Kendall's tau, and its error.

Methods share a seed's luck (the adapter to start from, the order of the data): a half is one of the
seeds, for all methods alike, and errors leave out one seed of all methods at a time.
"""

import numpy as np
import pandas as pd
from scipy import stats

from grounded.errors import GroundedError
from grounded.statistics.intervals import LEVEL, Array

SPLITS = 200
FEWEST = 6  # seeds: three in each half


def stability(runs: pd.DataFrame, arms: tuple[str, str], seed: int = 0) -> dict[str, float]:
    """Mean Kendall's tau-b (-1..1) between the orders of two halves of the seeds, in two arms.

    runs: a row a run, with method, seed and a column an arm. Returns each arm's tau, and `value`,
    `low`, `high` and `p` of the first less the second. Both arms, with and without each seed, see
    the same splits. A split in which a method has no run in a half, or all tie, has no tau.
    GroundedError for fewer than two methods or 6 seeds.
    """
    wide = runs.pivot(index="method", columns="seed", values=list(arms)).astype("float64")
    seeds = wide.shape[1] // 2
    if len(wide) < 2 or seeds < FEWEST:
        raise GroundedError(
            f"ranking: found {len(wide)} methods of {seeds} seeds, wanted 2 of {FEWEST} or more"
        )
    values = wide.to_numpy().reshape(len(wide), 2, seeds).swapaxes(0, 1)  # arms, methods, seeds
    first = np.random.default_rng(seed).random((SPLITS, seeds)).argsort(1) < seeds // 2
    found = []
    for gone in (-1, *range(seeds)):
        kept = np.arange(seeds) != gone
        halves = [_means(values, half & kept) for half in (first, ~first)]
        found.append(np.nanmean(taus(*halves), axis=-1))
    point, moved = found[0], np.array(found) @ [1, -1]
    told = moved[0], *tested(moved[0], moved[1:])
    return dict(zip((*arms, "value", "low", "high", "p"), map(float, (*point, *told)),
                    strict=True))  # fmt: skip


def tested(value: float, left_out: Array) -> tuple[float, float, float]:
    """The interval of a number and the two-sided p of 0, from its values without each of the seeds.

    The jackknife by group (Efron and Tibshirani 1993, ch. 11) with Student's t: it needs no model
    of how much the runs of one seed share. nan where nothing varies about a number that is not 0.
    """
    seeds = len(left_out)
    error = np.sqrt((seeds - 1) * left_out.var())
    if not error > 0:
        return (0.0, 0.0, 1.0) if value == 0 else (float("nan"),) * 3
    half = stats.t.ppf((1 + LEVEL) / 2, seeds - 1) * error
    return value - half, value + half, 2 * stats.t.sf(abs(value) / error, seeds - 1)


def taus(first: Array, second: Array) -> Array:
    """Kendall's tau-b over the last axis (methods); nan where one side ties or lacks a method."""
    i, j = np.triu_indices(first.shape[-1], 1)
    one, two = (np.sign(x[..., i] - x[..., j]) for x in (first, second))
    with np.errstate(invalid="ignore"):
        return (one * two).sum(-1) / np.sqrt((one**2).sum(-1) * (two**2).sum(-1))


def _means(values: Array, half: Array) -> Array:
    """arms x splits x methods: the mean of the half's runs (half: splits x seeds).

    Rounded, so that means that are equal tie in whatever order they were summed.
    """
    there = np.isfinite(values)
    sums, number = (
        np.einsum("ams,ds->adm", x, half) for x in (np.where(there, values, 0), there * 1.0)
    )
    means = np.divide(sums, number, out=np.full_like(sums, np.nan), where=number > 0)
    return means.round(12)
