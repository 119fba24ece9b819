"""How well two raters agree on a yes/no question, from the four counts of their table.

tp: both say yes; fp: only the rater says yes; fn: only the reference does; tn: neither.
"""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa

from grounded.statistics.intervals import Array, bootstrap, wilson

CELLS = ("tp", "fp", "fn", "tn")
Z = 1.959963984540054  # the normal quantile of a 95% interval
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval and the n behind it; nan where it is not defined."""

    value: float
    low: float
    high: float
    n: int


def sensitivity(tp: int, fn: int) -> Estimate:
    """The share of true cases that the rater finds, with Wilson's interval."""
    return _share(tp, tp + fn)


def specificity(tn: int, fp: int) -> Estimate:
    """The share of false cases that the rater leaves alone, with Wilson's interval."""
    return _share(tn, tn + fp)


def kappa(tp: int, fp: int, fn: int, tn: int) -> Estimate:
    """Cohen's kappa with its large-sample interval; nan when both raters are constant and alike."""
    n = tp + fp + fn + tn
    table = np.array([[tp, fn], [fp, tn]], dtype=float)
    expected = (table.sum(0) * table.sum(1)).sum() / n**2 if n else 1.0
    if expected == 1:
        return Estimate(NAN, NAN, NAN, n)
    with np.errstate(invalid="ignore"):  # of a variance that we do not read
        found = cohens_kappa(table)
    return Estimate(float(found.kappa), float(found.kappa_low), float(found.kappa_upp), n)


def ac1(tp: int, fp: int, fn: int, tn: int) -> Estimate:
    """Gwet's AC1 for two raters, with its large-sample interval.

    Chance agreement is 2q(1-q), q the mean of the two shares of yes; unlike kappa it does not
    collapse when nearly all cases are alike. Variance: Gwet (2008), Br J Math Stat Psychol 61,
    equation for two raters without finite-population correction.
    """
    n = tp + fp + fn + tn
    if n == 0:
        return Estimate(NAN, NAN, NAN, 0)
    shares = np.array([[tp, fn], [fp, tn]], dtype=float) / n
    pi = (shares.sum(0) + shares.sum(1)) / 2
    agreed = float(np.trace(shares))
    chance = float((pi * (1 - pi)).sum())
    value = (agreed - chance) / (1 - chance)
    one = (np.diag(shares) * (1 - pi)).sum() - agreed * chance
    pairs = 1 - (pi[:, None] + pi[None, :]) / 2
    two = (shares * pairs**2).sum() - chance**2
    spread = agreed * (1 - agreed) - 4 * (1 - value) * one + 4 * (1 - value) ** 2 * two
    half = Z * float(np.sqrt(max(spread, 0.0) / n)) / (1 - chance)
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0), n)


def measures(tp: int, fp: int, fn: int, tn: int) -> dict[str, float]:
    """All four with their intervals, flat: `kappa`, `kappa_low`, `kappa_high` and so on."""
    found = {
        "sensitivity": sensitivity(tp, fn),
        "specificity": specificity(tn, fp),
        "kappa": kappa(tp, fp, fn, tn),
        "ac1": ac1(tp, fp, fn, tn),
    }
    flat: dict[str, float] = {"n": tp + fp + fn + tn}
    for name, estimate in found.items():
        about = asdict(estimate)
        flat |= {name: about["value"], f"{name}_low": about["low"], f"{name}_high": about["high"]}
    return flat


def cells(counts: pd.DataFrame, truth: str, by: list[str]) -> pd.DataFrame:
    """The four counts of each cell, from counts (n verdicts, k of them yes) split by `truth`."""
    yes = counts[truth].astype(bool)
    four = counts[by].assign(
        tp=counts["k"].where(yes, 0),
        fp=counts["k"].where(~yes, 0),
        fn=(counts["n"] - counts["k"]).where(yes, 0),
        tn=(counts["n"] - counts["k"]).where(~yes, 0),
    )
    return four.groupby(by, observed=True, sort=False)[list(CELLS)].sum().reset_index()


def measures_by_run(counts: pd.DataFrame, truth: str, by: list[str]) -> pd.DataFrame:
    """`measures` of each cell of `by`, the intervals from resampling whole runs.

    counts: run, *by, truth, n, k. Point values are those of the pooled counts.
    """
    rows = []
    for cell, part in counts.groupby(by, observed=True, sort=False):
        runs = cells(part, truth, ["run"])[list(CELLS)].to_numpy(dtype=float)
        found = measures(*(int(total) for total in runs.sum(0)))
        for name, statistic in _BY_SUMS.items():
            found[f"{name}_low"], found[f"{name}_high"] = bootstrap(runs, statistic)
        rows.append({**dict(zip(by, cell, strict=True)), "runs": len(runs), **found})
    return pd.DataFrame(rows)


def _share(k: int, n: int) -> Estimate:
    low, high = wilson([k], [n])
    return Estimate(k / n if n else NAN, float(low[0]), float(high[0]), n)


def _kappas(sums: Array) -> Array:
    tp, fp, fn, tn = sums.T
    n = tp + fp + fn + tn
    chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2
    return ((tp + tn) / n - chance) / (1 - chance)


def _ac1s(sums: Array) -> Array:
    tp, fp, fn, tn = sums.T
    n = tp + fp + fn + tn
    q = (2 * tp + fp + fn) / (2 * n)
    chance = 2 * q * (1 - q)
    return ((tp + tn) / n - chance) / (1 - chance)


_BY_SUMS = {
    "sensitivity": lambda s: s[:, 0] / (s[:, 0] + s[:, 2]),
    "specificity": lambda s: s[:, 3] / (s[:, 3] + s[:, 1]),
    "kappa": _kappas,
    "ac1": _ac1s,
}
