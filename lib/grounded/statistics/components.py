"""How much of the variance of verdicts lies with runs, prompts, judges and benchmarks.

A crossed random-effects model, prompts nested in benchmarks: a verdict (0/1) is a mean plus one
effect for each factor and each combination of them, all uncorrelated. The moments are Koch's
symmetric sums (1967, Technometrics 9): for each set S of factors, the mean product of two verdicts
that share at least S is mean^2 plus the variances of the sets that the pair shares. One linear
equation a set; verdicts may be missing, if not because of their effects. With none missing the
solution is that of the ANOVA's expected mean squares, and may be negative, as that may.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from grounded.statistics.intervals import LEVEL, Array

NAMES = {
    (0, 0, 1): "judge", (0, 1, 0): "benchmark", (0, 1, 1): "judge x benchmark",
    (0, 2, 0): "prompt", (0, 2, 1): "judge x prompt", (1, 0, 0): "run",
    (1, 0, 1): "run x judge", (1, 1, 0): "run x benchmark", (1, 1, 1): "run x judge x benchmark",
    (1, 2, 0): "run x prompt", (1, 2, 1): "run x judge x prompt",
}  # fmt: skip
Set = tuple[int, int, int]  # run shared or not; nothing, benchmark or prompt shared; judge or not


@dataclass(frozen=True)
class Verdicts:
    """Verdicts of judges on the replies of runs to prompts; nan where one is missing.

    said: runs x prompts x judges. benchmark: the number, from 0, of each prompt's benchmark.
    """

    said: Array
    benchmark: npt.NDArray[Any]


def crossed(rows: pd.DataFrame, judges: list[str]) -> Verdicts:
    """The verdicts of rows: run, benchmark, prompt, a column a judge; each run on each prompt."""
    rows = rows.astype({"run": str, "benchmark": str}).sort_values(["run", "benchmark", "prompt"])
    prompts = rows[["benchmark", "prompt"]].drop_duplicates()
    shape = rows["run"].nunique(), len(prompts), len(judges)
    said = rows[judges].to_numpy(dtype=float).reshape(shape)
    return Verdicts(said, pd.factorize(prompts["benchmark"])[0])


def components(verdicts: Verdicts) -> pd.DataFrame:
    """The variance of each factor, with its share of all and intervals by leaving out runs.

    Columns: factor, variance, share (of the sum of all; 0..1, less than 0 where the estimate is),
    share_low, share_high: delete-one-run jackknife with Student's t. They are for other runs with
    these prompts and judges; judges and benchmarks are too few to be resampled. The last factor is
    also the residual. A factor with a single level is left out. nan bounds with fewer than three
    runs.
    """
    sets = _sets(verdicts)
    sums = _squares(np.nan_to_num(verdicts.said), verdicts.benchmark, sets)
    pairs = _squares(np.isfinite(verdicts.said).astype(float), verdicts.benchmark, sets)
    runs = len(verdicts.said)
    if runs < 3:  # nothing to leave out
        sums, pairs = sums[:, :1], pairs[:, :1]
    number = dict(zip(sets, pairs, strict=True))
    matrix = np.stack(
        [[number[_union(one, other)] / number[one] for other in sets] for one in sets]
    )  # equations x unknowns x (all runs, then each left out)
    matrix, known = np.moveaxis(matrix, 2, 0), (sums / pairs).T
    found = np.linalg.solve(matrix, known[:, :, None])[:, 1:, 0]
    total = found.sum(1, keepdims=True)
    shares = np.divide(found, total, out=np.full_like(found, np.nan), where=total > 1e-12)
    low = high = np.full(len(sets) - 1, np.nan)
    if runs > 2:
        left = shares[1:]
        error = np.sqrt((runs - 1) / runs * ((left - left.mean(0)) ** 2).sum(0))
        half = stats.t.ppf((1 + LEVEL) / 2, runs - 1) * error
        low, high = shares[0] - half, shares[0] + half
    return pd.DataFrame(
        {
            "factor": [NAMES[one] for one in sets[1:]], "variance": found[0], "share": shares[0],
            "share_low": low, "share_high": high,
        }
    )  # fmt: skip


def _sets(verdicts: Verdicts) -> list[Set]:
    """The sets of factors, the empty one first, of those with more than one level."""
    runs, _, judges = verdicts.said.shape
    levels = (0, 1, 2) if len(np.unique(verdicts.benchmark)) > 1 else (0, 2)
    return list(product((0, 1)[: min(runs, 2)], levels, (0, 1)[: min(judges, 2)]))


def _union(one: Set, other: Set) -> Set:
    run, place, judge = (max(pair) for pair in zip(one, other, strict=True))
    return run, place, judge


def _squares(values: Array, benchmark: npt.NDArray[Any], sets: list[Set]) -> Array:
    """For each set, the sum of squared totals over its cells: with all runs, and without each.

    values: runs x prompts x judges. Returns sets x (1 + runs).
    """
    member = np.eye(int(benchmark.max()) + 1)[benchmark]  # prompts x benchmarks
    by_place = (
        values.sum(1, keepdims=True),
        np.einsum("rpj,pb->rbj", values, member),
        values,
    )
    rows = []
    for run, place, judge in sets:
        totals = by_place[place] if judge else by_place[place].sum(2, keepdims=True)
        if run:
            each = (totals**2).sum((1, 2))
            rows.append([each.sum(), *(each.sum() - each)])
        else:
            all_runs = totals.sum(0)
            rows.append([(all_runs**2).sum(), *((all_runs - totals) ** 2).sum((1, 2))])
    return np.array(rows)
