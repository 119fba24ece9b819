"""Does the order of methods hold when their runs are drawn again? Kendall's tau, and the best.

Values: one row a method and run: method, run, and a column for each arm with the run's harm. A
draw takes one run of every method; a second draw takes another. Lower harm is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from grounded.anchors.spread import check_runs
from grounded.errors import GroundedError
from grounded.statistics import jackknife
from grounded.statistics.intervals import Array

PAIRS = 2000  # of draws
FEWEST_SEEDS = 5


@dataclass(frozen=True)
class Stability:
    """How stable a ranking is in one arm, or by how much two arms differ, with 95% intervals.

    tau: mean Kendall tau-b between two draws, -1..1; draws in which all methods tie have none; p:
    two-sided, of tau 0. best: probability that the best of one draw is the best of the other, 0..1;
    where several tie for it, one of them is picked by lot. nan where it is not defined.
    """

    tau: float
    tau_low: float
    tau_high: float
    p: float
    best: float
    best_low: float
    best_high: float


def stability(
    values: pd.DataFrame,
    arms: Sequence[str] = ("fixed", "anchored"),
    draws: int = PAIRS,
    seed: int = 0,
) -> dict[str, Stability]:
    """The stability of each arm, and under `difference` the second arm's less the first's.

    values: of runs whose column `seed` is shared by the methods. Both arms see the same draws. The
    two runs that a method gives to a pair of draws are never the same one. Errors leave out one
    seed of all methods at a time (`statistics.jackknife`), for methods share a seed's luck;
    Student's t with seeds less one degrees of freedom. GroundedError for fewer than two methods,
    5 seeds, 5 runs of a method or two without one of its seeds, or a missing value.
    """
    if values[list(arms)].isna().any(axis=None):
        run = values.loc[values[list(arms)].isna().any(axis=1), "run"].iloc[0]
        raise GroundedError(f"ranking: found no harm of {run}, wanted the same runs in all arms")
    seeds = sorted(values["seed"].unique())
    methods, of_seed = [], []
    for name, part in values.sort_values(["method", "run"]).groupby("method", observed=True):
        check_runs(len(part), f"method {name}")
        if len(part) - part["seed"].value_counts().iloc[0] < 2:
            raise GroundedError(f"method {name}: found runs of one seed alone, wanted others")
        methods.append(part[list(arms)].to_numpy(dtype=float))
        of_seed.append(part["seed"].to_numpy())
    if len(methods) < 2:
        raise GroundedError(f"ranking: found {len(methods)} methods, wanted 2 or more")
    if len(seeds) < FEWEST_SEEDS:
        raise GroundedError(
            f"ranking: found {len(seeds)} seeds, wanted {FEWEST_SEEDS} to leave one out at a time"
        )
    point = _both(methods, draws, np.random.default_rng(seed))
    left_out = np.stack(
        [
            _both(
                [m[own != one] for m, own in zip(methods, of_seed, strict=True)],
                draws, np.random.default_rng(seed),
            )
            for one in seeds
        ]
    )  # fmt: skip
    found = {arm: _stability(point[i], left_out[:, i]) for i, arm in enumerate(arms)}
    if len(arms) == 2:
        found["difference"] = _stability(point[1] - point[0], left_out[:, 1] - left_out[:, 0], 2)
    return found


def taus(first: Array, second: Array) -> Array:
    """Kendall's tau-b of each row of two arrays (rows x methods); nan where a row is all ties."""
    i, j = np.triu_indices(first.shape[1], 1)
    one, two = (np.sign(x[:, i] - x[:, j]) for x in (first, second))
    with np.errstate(invalid="ignore"):
        return (one * two).sum(1) / np.sqrt((one**2).sum(1) * (two**2).sum(1))


def same_best(first: Array, second: Array) -> Array:
    """The chance that both rows have the same best (lowest) method, ties broken by lot."""
    one, two = (x == x.min(1, keepdims=True) for x in (first, second))
    return (one & two).sum(1) / (one.sum(1) * two.sum(1))


def _both(methods: list[Array], draws: int, draw: np.random.Generator) -> Array:
    """arms x (tau, best), from pairs of draws."""
    firsts, seconds = [], []
    for runs in methods:
        at = draw.integers(0, len(runs), draws)
        other = (at + draw.integers(1, len(runs), draws)) % len(runs)
        firsts.append(runs[at])
        seconds.append(runs[other])
    first, second = np.stack(firsts, 1), np.stack(seconds, 1)  # draws x methods x arms
    found = []
    for arm in range(first.shape[2]):
        tau = taus(first[:, :, arm], second[:, :, arm])
        tau = tau[np.isfinite(tau)]
        best = same_best(first[:, :, arm], second[:, :, arm])
        found.append((tau.mean() if len(tau) else np.nan, best.mean()))
    return np.array(found)


def _stability(point: Array, left_out: Array, most: float = 1.0) -> Stability:
    """most: the largest that a tau can be here."""
    tau, best = (
        jackknife.Estimated(float(value), jackknife.error(own), len(own) - 1)
        for value, own in zip(point, left_out.T, strict=True)
    )
    low, high, p = tau.tested()
    first, last, _ = best.tested()
    least = 0.0 if most == 1 else -1.0
    return Stability(
        tau.value, max(low, -most), min(high, most), p,
        best.value, max(first, least), min(last, 1.0),
    )  # fmt: skip
