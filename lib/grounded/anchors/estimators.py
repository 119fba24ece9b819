"""Where a run stands when it has just reached a capability: weights on its checkpoints.

H(kappa), the harm where a run's path first attains the capability kappa, is estimated in three
ways. Each turns the capabilities along one run into weights on its checkpoints, so that harm,
capability and single verdicts at kappa are all the same weighted sum. A weight is never negative
and the weights sum to 1, so nothing is ever extrapolated.
"""

import numpy as np
from scipy.optimize import isotonic_regression

from grounded.statistics.intervals import Array

ROUNDING = 1e-9  # shares of items that are equal on paper differ by less than this


def isotonic(path: Array) -> Array:
    """The path (capabilities in order of training) made monotone by least squares (PAV)."""
    return np.asarray(isotonic_regression(np.asarray(path, dtype=float)).x)


def weights(path: Array, kappa: float, tolerance: float, rule: str) -> Array | None:
    """The weights of a run's checkpoints that stand for capability `kappa`.

    path: T capabilities in 0..1 in order of training, the base model first. Returns T weights,
    or None where the run has no value at `kappa`: its base model is there already, it never
    gets there, or (nearest) no checkpoint lies within `tolerance`.

    nearest: the trained checkpoint nearest to kappa, the earliest of equals. first_crossing: the
    first checkpoint at or above kappa. interpolated: the two neighbours between which the
    isotonic path passes kappa, linear in capability.
    """
    path = np.asarray(path, dtype=float)
    if path[0] >= kappa - ROUNDING:
        return None
    if rule == "nearest":
        gaps = np.round(np.abs(path[1:] - kappa), 9)
        at = 1 + int(gaps.argmin())
        return _one(at, len(path)) if gaps[at - 1] <= tolerance + ROUNDING else None
    if rule == "interpolated":
        path = isotonic(path)
    reached = np.flatnonzero(path >= kappa - ROUNDING)
    if not len(reached):
        return None
    at = int(reached[0])
    found = _one(at, len(path))
    if rule == "interpolated":
        share = min(1.0, (kappa - path[at - 1]) / (path[at] - path[at - 1]))
        found[at - 1], found[at] = 1 - share, share
    return found


def _one(at: int, length: int) -> Array:
    found = np.zeros(length)
    found[at] = 1.0
    return found
