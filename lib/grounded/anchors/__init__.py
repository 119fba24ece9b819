"""Anchoring: comparing runs at a capability goal, and whether that helps.

A goal (`Anchor`) becomes an accuracy for each group of runs (`levels`); each run is read where it
first attains it (`match`), or at one epoch for all (`fixed`); what was measured there (`at`) is put
side by side on the same runs (`arms`, `pairs`); and the arms are compared (`ratio`, `primary`).
"""

from grounded.anchors.goal import (
    CELL,
    Arms,
    Matched,
    arms,
    at,
    curves,
    elsewhere,
    enough,
    fixed,
    isotonic,
    levels,
    match,
    started,
    weights,
)
from grounded.anchors.ranking import Stability, stability
from grounded.anchors.registered import (
    BETTER,
    holm,
    other_choices,
    primary,
    secondary,
    special,
)
from grounded.anchors.spread import Ratio, pairs, ratio, smallest_ratio, variance_ratio, variances
from grounded.study.anchoring import FEWEST, RULES, Anchor

__all__ = [
    "BETTER",
    "CELL",
    "FEWEST",
    "RULES",
    "Anchor",
    "Arms",
    "Matched",
    "Ratio",
    "Stability",
    "arms",
    "at",
    "curves",
    "elsewhere",
    "enough",
    "fixed",
    "holm",
    "isotonic",
    "levels",
    "match",
    "other_choices",
    "pairs",
    "primary",
    "ratio",
    "secondary",
    "smallest_ratio",
    "special",
    "stability",
    "started",
    "variance_ratio",
    "variances",
    "weights",
]
