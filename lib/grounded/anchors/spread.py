"""Does anchoring make the harm of runs vary less? The ratio of variances over settings and seeds.

Pairs: one row a run and prompt, with the run's verdict in both arms: columns that name the cell,
run, benchmark, prompt, fixed, anchored (0..1; between checkpoints a weighted sum; nan: missing).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from grounded.anchors.goal import CELL, PROMPT, Arms, at
from grounded.errors import GroundedError
from grounded.statistics import columns
from grounded.statistics.intervals import LEVEL, Array
from grounded.study.anchoring import FEWEST

NAN = float("nan")
DRAWS = 2000
ARMS = ("fixed", "anchored")
HARDLY = 0.01  # of the two arms' mean variance: less is not told from nothing


@dataclass(frozen=True)
class Ratio:
    """Variance of harm at the goal over variance at a fixed epoch, pooled over cells.

    ratio: exp of the mean over cells of the log ratio, with its 95% interval; below 1, anchoring
    narrows. p: two-sided, of ratio 1. cells: how many count. conclusion: `narrows`, `widens` or
    `unclear`. by_sums: the ratio of the summed variances, where wide cells weigh more (no test).
    why_not: why there is no number, else empty.
    """

    ratio: float = NAN
    low: float = NAN
    high: float = NAN
    p: float = NAN
    cells: int = 0
    runs: int = 0
    conclusion: str = "unclear"
    by_sums: float = NAN
    why_not: str = ""


def pairs(both: Arms, rows: pd.DataFrame, value: str = "label") -> pd.DataFrame:
    """What was measured of every reply in both arms, on the same runs: the columns of its cells,
    run, benchmark, prompt, fixed, anchored.

    rows: as for `goal.at`. A run without a single value in an arm is left out.
    """
    mine = set(both.cells["run"])
    one, two = (
        at(rows, arm.chosen[arm.chosen["run"].isin(mine)], value).rename(columns={"value": name})
        for name, arm in (("fixed", both.fixed), ("anchored", both.anchored))
    )
    found = both.cells.merge(one, on="run").merge(two, on=["run", *PROMPT], validate="one_to_one")
    given = found.groupby("run")[list(ARMS)].transform("count")
    return found[(given > 0).all(axis=1)].reset_index(drop=True)


def ratio(pairs: pd.DataFrame, draws: int = DRAWS) -> Ratio:
    """`variance_ratio` over cells of models and tasks with enough runs; or why there is none."""
    size = pairs.groupby(CELL, observed=True)["run"].transform("nunique")
    try:
        return variance_ratio(pairs[size >= FEWEST], CELL, draws)
    except GroundedError as error:
        return Ratio(why_not=str(error))


def variances(pairs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Each cell's variance of harm over its runs in both arms, descriptive.

    Columns: *by, runs, prompts, mean_fixed, mean_anchored, fixed, anchored (variance less its
    sampling part, which may be negative), noise_fixed, noise_anchored (that part), ratio (nan
    where neither arm varies beyond its noise), counts (whether the cell counts in the pool).
    GroundedError for a cell with fewer than 5 runs or 2 prompts.
    """
    rows = []
    for cell, part in pairs.groupby(list(by), observed=True):
        found = _Cell.of(part, cell)
        once = np.ones((1, found.runs))
        spread = found.variance(once)
        rows.append(
            (*cell, found.runs, found.prompts, *found.values.mean(1), *spread[:, 0],
             *(found.sampling(once)[:, 0]),
             float(np.exp(found.log_ratio(once)[0])) if found.counts else NAN, found.counts)
        )  # fmt: skip
    columns = [*by, "runs", "prompts", "mean_fixed", "mean_anchored", *ARMS, "noise_fixed",
               "noise_anchored", "ratio", "counts"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def variance_ratio(
    pairs: pd.DataFrame, by: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Ratio:
    """The pooled ratio of variances, with a bootstrap by run within cell.

    A cell counts when either arm's variance exceeds what sampling could feign; that rule treats
    the arms alike. A variance below that floor is put on it, which draws the ratio to 1.
    The interval takes prompts, goal and epoch as given, and is for other runs like these:
    Student's t with runs less cells degrees of freedom, the bootstrap's error widened by
    runs / (runs - 1) because a resample of few runs has too little spread (without both, one test
    in ten of a true null rejects at 12 runs a cell).
    Only the sampling of prompts is removed: that few items choose a run's place less well is part
    of anchoring with so many items, and stays in its variance.
    GroundedError for a cell with fewer than 5 runs or 2 prompts, or where no cell counts.
    """
    cells = [_Cell.of(part, cell) for cell, part in pairs.groupby(list(by), observed=True)]
    cells = [cell for cell in cells if cell.counts]
    if not cells:
        raise GroundedError(
            "variance ratio: found no cell whose runs differ beyond sampling, wanted one"
        )
    logs, new, sums = [], [], np.zeros(2)
    for number, cell in enumerate(cells):
        times = _times(cell.runs, draws, seed, number)
        once = np.ones((1, cell.runs))
        logs.append(float(cell.log_ratio(once)[0]))
        new.append(cell.log_ratio(times))
        sums += np.maximum(cell.variance(once)[:, 0], 0)
    pooled = float(np.mean(logs))
    freedom = sum(cell.runs - 1 for cell in cells)
    error = float(np.std(np.mean(new, axis=0), ddof=1)) * (1 + len(cells) / freedom)
    low, high = pooled - _t(freedom) * error, pooled + _t(freedom) * error
    p = float(2 * stats.t.sf(abs(pooled) / error, freedom)) if error > 0 else NAN
    conclusion = "narrows" if high < 0 else "widens" if low > 0 else "unclear"
    return Ratio(
        float(np.exp(pooled)), float(np.exp(low)), float(np.exp(high)), p, len(cells),
        sum(cell.runs for cell in cells), conclusion,
        float(sums[1] / sums[0]) if sums[0] > 0 else NAN,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _times(runs: int, draws: int, seed: int, number: int) -> Array:
    """How often each run of a cell is drawn, a row a draw."""
    draw = np.random.default_rng([seed, number])
    return draw.multinomial(runs, np.full(runs, 1 / runs), size=draws).astype(float)


def smallest_ratio(
    cells: int,
    runs: int,
    correlation: float = 0.0,
    reliability: float = 1.0,
    power: float = 0.8,
    draws: int = 4000,
    seed: int = 0,
) -> float:
    """The ratio nearest to 1 (below it) that a design finds with this power at the 5% level.

    By simulation of normal runs: the largest ratio whose mean log lies (t(.975) + z(power))
    standard deviations of the pooled log below 0. nan where even a ratio of .01 would be missed.
    cells: that count. runs: in each. correlation: of a run's true harm in the two arms, -1..1.
    reliability: share of the variance at a fixed epoch that is not sampling of prompts, in (0, 1].
    """
    check_runs(runs, "variance ratio")
    if not (cells >= 1 and -1 < correlation < 1 and 0 < reliability <= 1 and 0 < power < 1):
        raise GroundedError(
            f"variance ratio: found cells {cells}, correlation {correlation:g}, reliability "
            f"{reliability:g}, power {power:g}, wanted 1 or more, (-1, 1), (0, 1], (0, 1)"
        )
    one, two, *luck = np.random.default_rng(seed).normal(size=(4, draws, runs))
    two = correlation * one + np.sqrt(1 - correlation**2) * two
    noise = 1 - reliability
    reach = (_t(cells * (runs - 1)) + stats.norm.ppf(power)) / np.sqrt(cells)
    raw = (np.sqrt(reliability) * one + np.sqrt(noise) * luck[0]).var(1, ddof=1)
    for ratio in np.geomspace(1, 0.01, 231):
        new = (np.sqrt(ratio * reliability) * two + np.sqrt(noise) * luck[1]).var(1, ddof=1)
        floor = np.maximum(noise * np.sqrt(2 / (runs - 1)), HARDLY * (raw + new) / 2)
        logs = np.log(np.maximum(new - noise, floor) / np.maximum(raw - noise, floor))
        if -logs.mean() >= reach * logs.std():
            return float(ratio)
    return NAN


def _t(freedom: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


@dataclass(frozen=True)
class _Cell:
    """Runs of a cell: values (arms x runs), their covariance under new prompts in either arm."""

    values: Array
    noises: tuple[Array, Array]
    prompts: int

    @classmethod
    def of(cls, part: pd.DataFrame, cell: tuple) -> "_Cell":
        runs = sorted(part["run"].unique())
        name = "cell " + ", ".join(map(str, cell))
        check_runs(len(runs), name)
        tables = grids(part, runs, ARMS)
        prompts = tables[0].shape[1]
        if prompts < 2:
            raise GroundedError(f"{name}: found {prompts} prompts, wanted 2 or more")
        for table in tables:
            if (empty := np.isnan(table).all(1)).any():
                run = runs[int(np.flatnonzero(empty)[0])]
                raise GroundedError(f"{name}: found no verdict of {run}, wanted some in both arms")
        return cls(
            np.stack([rates(t) for t in tables]), (noise(tables[0]), noise(tables[1])), prompts
        )

    @property
    def runs(self) -> int:
        return self.values.shape[1]

    @property
    def floor(self) -> float:
        """What is not told from nothing: the error that sampling alone gives a variance."""
        once = np.ones((1, self.runs))
        sampling = float(np.maximum(self.sampling(once), 0).mean())
        raw = float((self.variance(once) + self.sampling(once)).mean())
        return max(sampling * np.sqrt(2 / (self.runs - 1)), HARDLY * raw)

    @property
    def counts(self) -> bool:
        found = self.variance(np.ones((1, self.runs))).max()
        return bool(found > self.floor > 0)

    def sampling(self, times: Array) -> Array:
        """The part of either arm's variance that is sampling of prompts, arms x draws."""
        return np.stack(
            [
                times @ np.diag(n) - np.einsum("br,rs,bs->b", times, n, times) / self.runs
                for n in self.noises
            ]
        ) / (self.runs - 1)

    def variance(self, times: Array) -> Array:
        """Variance over runs less its sampling part, arms x draws; times: draws x runs."""
        raw = times @ (self.values**2).T - (times @ self.values.T) ** 2 / self.runs
        return raw.T / (self.runs - 1) - self.sampling(times)

    def log_ratio(self, times: Array) -> Array:
        """log of anchored over fixed variance, neither below the floor; one a draw."""
        fixed, anchored = np.maximum(self.variance(times), self.floor)
        return np.log(anchored / fixed)


def check_runs(runs: int, what: str) -> None:
    """GroundedError when there are too few runs to resample."""
    if runs < FEWEST:
        raise GroundedError(f"{what}: found {runs} runs, wanted {FEWEST} or more to resample runs")


def grids(values: pd.DataFrame, runs: Sequence[str], names: Sequence[str]) -> list[Array]:
    """Some columns, each as runs (in the order given) x prompts (sorted); nan where missing."""
    given = pd.Categorical(values["run"])
    row = pd.Index(runs).get_indexer(given.categories)[given.codes]
    prompt = columns.number(values, [n for n in PROMPT if n in values])
    occurs = np.bincount(prompt) > 0
    at = (np.cumsum(occurs) - 1)[prompt]
    some = row >= 0
    found = []
    for name in names:
        table = np.full((len(runs), int(occurs.sum())), np.nan)
        table[row[some], at[some]] = values[name].to_numpy(dtype=float)[some]
        found.append(table)
    return found


def rates(grid: Array) -> Array:
    """The rate of each run over the prompts that were judged; nan for a run without any."""
    given = ~np.isnan(grid)
    with np.errstate(invalid="ignore"):
        return np.where(given, grid, 0).sum(1) / given.sum(1)


def noise(grid: Array) -> Array:
    """Covariance of the runs' rates under other prompts, the same for all runs (runs x runs).

    It is what a bootstrap of prompts drawn jointly tends to; a missing verdict has no say. Every
    run needs a verdict, and there must be two prompts or more.
    """
    given = ~np.isnan(grid)
    prompts = grid.shape[1]
    away = np.where(given, grid - rates(grid)[:, None], 0) / given.mean(1, keepdims=True)
    return away @ away.T / (prompts * (prompts - 1))
