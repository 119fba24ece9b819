"""Proof that two arms are matched in capability: equivalence, not the lack of a difference."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from grounded.anchors.anchor import ALPHA
from grounded.errors import GroundedError


@dataclass(frozen=True)
class Equivalence:
    """The difference of two arms' capability and whether it is proven to be within +- tolerance.

    low, high: the 90% interval of the difference, whose place inside the tolerance is the test.
    p: of the two one-sided tests. smallest: the tolerance that these items would have proven at
    this difference. equivalent: p below .05.
    """

    items: int
    difference: float
    low: float
    high: float
    p: float
    smallest: float
    equivalent: bool


def tost(first: pd.DataFrame, second: pd.DataFrame, tolerance: float) -> Equivalence:
    """TOST of two arms' capability on paired items.

    first, second: one row a run and item: run, item, value (share right, 0..1). Each item's pair
    is its mean over the runs of either arm, so the claim is about these runs on items like these.
    GroundedError where the arms did not answer the same items, or fewer than two.
    """
    one, two = (arm.groupby("item")["value"].mean().sort_index() for arm in (first, second))
    if not one.index.equals(two.index):
        odd = one.index.symmetric_difference(two.index)[0]
        raise GroundedError(f"items of two arms: found {odd} in one, wanted the same in both")
    if len(one) < 2:
        raise GroundedError(f"items of two arms: found {len(one)}, wanted 2 or more")
    gap = (one - two).to_numpy()
    difference, error = float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))
    half = float(stats.t.ppf(1 - ALPHA, len(gap) - 1)) * error
    if error > 0:
        p = float(ttost_paired(one.to_numpy(), two.to_numpy(), -tolerance, tolerance)[0])
    else:  # every item answered alike, or all shifted by one amount
        p = 0.0 if abs(difference) < tolerance else 1.0
    return Equivalence(
        len(gap), difference, difference - half, difference + half, p, abs(difference) + half,
        p < ALPHA,
    )  # fmt: skip
