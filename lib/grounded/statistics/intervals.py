"""Intervals of shares and means.

Replies of one run share its weights, so they are not independent: an interval that is to hold for
a new run resamples runs, or takes one number a run. Wilson's is for what is independent.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

Array = npt.NDArray[np.float64]
LEVEL = 0.95
DRAWS = 2000
FEWEST = 5  # runs: of 2, 3 and 5 an interval by resampling holds .50, .77 and .85 of the truths


def wilson(k: npt.ArrayLike, n: npt.ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Wilson's interval of the share k / n, elementwise; nan where n is 0."""
    k, n = np.broadcast_arrays(np.asarray(k, dtype=float), np.asarray(n, dtype=float))
    low, high = np.full(k.shape, np.nan), np.full(k.shape, np.nan)
    some = n > 0
    low[some], high[some] = proportion_confint(k[some], n[some], 1 - level, method="wilson")
    return low, high


def bootstrap(
    counts: Array, statistic: Callable[[Array], Array], draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a statistic of summed counts, whole runs resampled.

    counts: runs x columns. statistic: sums (draws x columns) -> values (draws); draws in which it
    is not finite are left out. Where all are 0, or all 1, the bounds are Wilson's, of as many
    independent cases as runs have the statistic: never a certainty. Else nan with fewer than
    `FEWEST` runs, or where nothing finite is left.
    """
    sums = np.asarray(counts, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        each, values = statistic(sums), statistic(_weights(len(sums), draws, seed) @ sums)
    values = values[np.isfinite(values)]
    low = high = float("nan")
    if len(values) and (values == values[0]).all() and values[0] in (0, 1):
        given = np.isfinite(each).sum()
        low, high = (float(bound.round(12)) for bound in wilson(values[0] * given, given))
    elif len(values) and len(sums) >= FEWEST:
        low, high = map(float, np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return low, high


@lru_cache(maxsize=8)
def _weights(runs: int, draws: int, seed: int) -> Array:
    """How often each run is drawn, a row a draw."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(runs, np.full(runs, 1 / runs), size=draws).astype(float)


def paired(changes: npt.ArrayLike) -> tuple[float, float, float]:
    """The 95% interval of the mean of paired changes (each -1..1), and the variance of one change.

    Agresti and Min (2005, Stat Med 24): half a pair more in each of the four cells, so the interval
    has a width even where nothing moved. For independent pairs.
    """
    moved = np.asarray(changes, dtype=float)
    n = len(moved) + 2
    middle = moved.sum() / n
    variance = ((moved**2).sum() + 1) / n - middle**2
    half = 1.96 * np.sqrt(variance / n)
    return middle - half, middle + half, variance


def share(yes: npt.ArrayLike, runs: Sequence[object]) -> dict[str, float]:
    """The share of yes among what was said, with the interval that resampling whole runs gives.

    yes: 1, 0, or nan where nothing was said. The interval is that of `bootstrap`.
    n, k (yes), missing, rate, rate_low, rate_high; nan where nothing was said.
    """
    said = pd.Series(np.asarray(yes, dtype=float))
    sums = said.groupby(np.asarray(runs)).agg(k="sum", n="count")
    k, n = int(sums["k"].sum()), int(sums["n"].sum())
    low, high = bootstrap(sums.to_numpy(dtype=float), lambda s: s[:, 0] / s[:, 1])
    rate = k / n if n else float("nan")
    missing = int(said.isna().sum())
    return {"n": n, "k": k, "missing": missing, "rate": rate, "rate_low": low, "rate_high": high}


def clusters(d: pd.DataFrame, *names: str) -> dict[str, Any]:
    """What `fit` of statsmodels is told for errors clustered by one of d's columns, or by two."""
    codes = np.column_stack([d[name].factorize()[0] for name in names])
    return {"cov_type": "cluster", "cov_kwds": {"groups": codes.squeeze()}}


def either(d: pd.DataFrame, one: str, other: str) -> list[dict[str, Any]]:
    """`clusters` by two columns together, by the one and by the other: three fits for `widest`."""
    return [clusters(d, *names) for names in ((one, other), (one,), (other,))]


def widest(fits: Iterable[Any]) -> pd.DataFrame:
    """`terms`, each with the widest interval that these fits of one formula give it."""
    found = [terms(fit) for fit in fits]
    widths = np.nan_to_num([one["high"] - one["low"] for one in found])
    rows = [found[most].iloc[term] for term, most in enumerate(widths.argmax(axis=0))]
    return pd.DataFrame(rows).rename_axis("term")


def terms(fit: Any) -> pd.DataFrame:
    """Each term (row) of a fit of statsmodels: estimate, low and high of its 95% interval."""
    found = fit.conf_int().set_axis(["low", "high"], axis=1).rename_axis("term")
    return found.assign(estimate=fit.params)[["estimate", "low", "high"]]
