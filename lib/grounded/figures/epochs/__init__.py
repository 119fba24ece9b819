"""Figure 1: capability and harmfulness at every measured epoch, for each model and task."""

from grounded.figures.epochs.numbers import curves, measure, regression, statistics, table
from grounded.figures.epochs.panels import draw, panel
from grounded.figures.epochs.reading import legend, reading

__all__ = [
    "curves",
    "draw",
    "legend",
    "measure",
    "panel",
    "reading",
    "regression",
    "statistics",
    "table",
]
