"""Anchoring: comparing runs at a capability goal, and whether that helps.

A goal (`Anchor`) becomes an accuracy for each group of runs (`levels`); each run is read where it
first attains it (`match`), or at one epoch for all (`fixed`); what was measured there (`at`) is
estimated cell by cell (`estimates`); and the two arms are compared on the same runs
(`variance_ratio`, `stability`).
"""

from grounded.anchors.anchor import check, provable, read, smallest_provable
from grounded.anchors.cells import estimates
from grounded.anchors.equivalence import Equivalence, tost
from grounded.anchors.estimators import isotonic, weights
from grounded.anchors.matching import Matched, at, fixed, levels, match
from grounded.anchors.ranking import Stability, flips, stability
from grounded.anchors.spread import Ratio, pairs, smallest_ratio, variance_ratio, variances
from grounded.anchors.tables import (
    about,
    answers,
    curves,
    disagreement,
    incoherence,
    opinions,
    progress,
    twin_benchmarks,
    verdicts,
)
from grounded.study.anchoring import RULES, Anchor

__all__ = [
    "RULES",
    "Anchor",
    "Equivalence",
    "Matched",
    "Ratio",
    "Stability",
    "about",
    "answers",
    "at",
    "check",
    "curves",
    "disagreement",
    "estimates",
    "fixed",
    "flips",
    "incoherence",
    "isotonic",
    "levels",
    "match",
    "opinions",
    "pairs",
    "progress",
    "provable",
    "read",
    "smallest_provable",
    "smallest_ratio",
    "stability",
    "tost",
    "twin_benchmarks",
    "variance_ratio",
    "variances",
    "verdicts",
    "weights",
]
