"""Runs x prompts: what each run's rate is, and how far rates move with other prompts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from grounded.errors import GroundedError
from grounded.statistics import columns
from grounded.statistics.intervals import Array

FEWEST = 5  # runs below which resampling them means little


def check_runs(runs: int, what: str) -> None:
    """GroundedError when there are too few runs to resample."""
    if runs < FEWEST:
        raise GroundedError(f"{what}: found {runs} runs, wanted {FEWEST} or more to resample runs")


def grids(values: pd.DataFrame, runs: Sequence[str], names: Sequence[str]) -> list[Array]:
    """Some columns, each as runs (in the order given) x prompts (sorted); nan where missing."""
    given = pd.Categorical(values["run"])
    row = pd.Index(runs).get_indexer(given.categories)[given.codes]
    prompt = columns.number(values, ["prompt"])
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
