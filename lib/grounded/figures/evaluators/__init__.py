"""Figure 3: harmfulness and compliance against capability, for what was tuned on one task."""

from grounded.figures.evaluators.numbers import (
    lines,
    main_task,
    measure,
    points,
    regressions,
    statistics,
    summary,
    twins,
)
from grounded.figures.evaluators.panels import TABLES, draw, panel, save_twins
from grounded.figures.evaluators.reading import legend, reading

__all__ = [
    "TABLES",
    "draw",
    "legend",
    "lines",
    "main_task",
    "measure",
    "panel",
    "points",
    "reading",
    "regressions",
    "save_twins",
    "statistics",
    "summary",
    "twins",
]
