"""Mitigations on one footing: at the capability that plain LoRA's goal names, and as usual."""

from grounded.figures.mitigations.numbers import Found, data, measure, statistics
from grounded.figures.mitigations.panels import draw
from grounded.figures.mitigations.reading import legend, reading
from grounded.figures.mitigations.tables import change_table, end_table, goal_table

__all__ = [
    "Found",
    "change_table",
    "data",
    "draw",
    "end_table",
    "goal_table",
    "legend",
    "measure",
    "reading",
    "statistics",
]
