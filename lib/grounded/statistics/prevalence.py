"""The true rate behind a judge's rate, from a small sample with labels that are taken as true.

A judge has read every reply of a pool; n of them, drawn at random, have labels. Everything is a
function of counts: `labelled`, the four cells of the sample (tp, fp, fn, tn of judge against
label), and of the rest the number of replies and how many of them the judge calls yes. Arrays:
draws x cells, or draws; estimates and bounds are shares in 0..1, nan where not defined.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from grounded.statistics.intervals import Array, wilson

Z = 1.959963984540054  # the normal quantile of a 95% interval


class Rate(NamedTuple):
    """An estimated rate of yes with its 95% interval, one a draw."""

    value: Array
    low: Array
    high: Array


def labels_alone(labelled: Array) -> Rate:
    """The rate among the labels, with Wilson's interval; the judge is not used."""
    tp, _, fn, _ = labelled.T
    n = labelled.sum(1)
    return Rate((tp + fn) / n, *wilson(tp + fn, n))


def ppi(labelled: Array, yes: Array, rest: Array) -> Rate:
    """Prediction-powered inference of a mean: the judge's rate plus its mean error on the labels.

    Angelopoulos et al. (2023, Science 382), variance p(1 - p)/N + Var(label - verdict)/n. The
    mean error is a difference of paired proportions, and a sample without any error would claim
    that there is none; its interval is Agresti and Min's (2005, Stat Med 24): half a reply more
    in each of the four cells.
    """
    _, fp, fn, _ = labelled.T
    n, p = labelled.sum(1), yes / rest
    centre = (fn - fp) / (n + 2)
    spread = ((fn + fp + 1) / (n + 2) - centre**2) / (n + 2) + p * (1 - p) / rest
    half = Z * np.sqrt(spread)
    bounds = (np.clip(p + centre + side * half, 0, 1) for side in (-1, 1))
    return Rate(p + (fn - fp) / n, *bounds)


def rogan_gladen(labelled: Array, yes: Array, rest: Array) -> Rate:
    """Rogan and Gladen's (1978) rate: (p + sp - 1) / (se + sp - 1), cut to 0..1.

    Sensitivity and specificity are those of `labelled`. Interval: Lang and Reiczigel (2014, Prev
    Vet Med 113), which allows for their being estimated. nan where a label of one kind is lacking
    or the judge is no better than chance (se + sp <= 1).
    """
    tp, fp, fn, tn = labelled.T
    with np.errstate(invalid="ignore", divide="ignore"):
        p, se, sp = yes / rest, tp / (tp + fn), tn / (tn + fp)
        value = np.where(se + sp > 1, (p + sp - 1) / (se + sp - 1), np.nan)
        n = rest + Z**2
        p = (yes + Z**2 / 2) / n
        n_se, n_sp = tp + fn + 2, tn + fp + 2
        se, sp = (tp + 1) / n_se, (tn + 1) / n_sp
        gain = se + sp - 1
        middle = np.clip((p + sp - 1) / gain, 0, 1)
        v_se, v_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
        shift = 2 * Z**2 * (middle * v_se - (1 - middle) * v_sp)
        half = Z / gain * np.sqrt(p * (1 - p) / n + middle**2 * v_se + (1 - middle) ** 2 * v_sp)
        bad = ~np.isfinite(value) | (gain <= 0)
    bounds = (
        np.where(bad, np.nan, np.clip(middle + shift + side * half, 0, 1)) for side in (-1, 1)
    )
    return Rate(np.where(bad, np.nan, np.clip(value, 0, 1)), *bounds)


def repeated(
    pool: Array, labelled: int, draws: int, elsewhere: Array | None = None, seed: int = 0
) -> pd.DataFrame:
    """What each method gives when the labelled sample is drawn again and again from one pool.

    pool: tp, fp, fn, tn of judge against truth over all replies; its true rate is known. Every
    draw labels so many replies, at random without replacement. elsewhere: the four counts of
    other replies, from which as many are labelled for one more Rogan-Gladen estimate, whose
    sensitivity and specificity are then carried over to the pool.
    Columns: method, truth, mean (of the draws in which the method is defined), bias, low, high
    (2.5% and 97.5% of the estimates), coverage (share of these draws whose interval holds the
    truth), width (mean, of the interval), undefined (share of draws).
    """
    draw = np.random.default_rng(seed)
    sample = _sample(draw, pool, labelled, draws)
    rest = (pool.sum() - labelled) * np.ones(draws)
    yes = (pool[:2].sum() - sample[:, :2].sum(1)).astype(float)
    naive = np.full(draws, pool[:2].sum() / pool.sum())
    found = {
        "naive": Rate(naive, *wilson(naive * pool.sum(), pool.sum())),
        "labels alone": labels_alone(sample),
        "PPI": ppi(sample, yes, rest),
        "Rogan-Gladen": rogan_gladen(sample, yes, rest),
    }
    if elsewhere is not None and elsewhere.sum() >= labelled:
        other = _sample(draw, elsewhere, labelled, draws)
        whole = np.full(draws, float(pool.sum()))
        found["Rogan-Gladen, carried over"] = rogan_gladen(other, naive * whole, whole)
    truth = float((pool[0] + pool[2]) / pool.sum())
    return pd.DataFrame([{"method": name, **_about(rate, truth)} for name, rate in found.items()])


def _sample(draw: np.random.Generator, pool: Array, labelled: int, draws: int) -> Array:
    """The four cells of so many replies of a pool, without replacement: draws x 4."""
    cells = [int(cell) for cell in pool]
    return draw.multivariate_hypergeometric(cells, labelled, size=draws).astype(float)


def _about(rate: Rate, truth: float) -> dict[str, float]:
    some = pd.DataFrame(rate._asdict()).dropna(subset="value")
    return {
        "truth": truth,
        "undefined": 1 - len(some) / len(rate.value),
        "mean": some["value"].mean(),
        "bias": some["value"].mean() - truth,
        "low": some["value"].quantile(0.025),
        "high": some["value"].quantile(0.975),
        "coverage": ((some["low"] <= truth) & (truth <= some["high"])).mean(),
        "width": (some["high"] - some["low"]).mean(),
    }
