"""Figure 2: what a harm judge says of the replies, split by whether they are language at all."""

from grounded.figures.judgments.numbers import (
    agreement,
    by_truth,
    composition,
    data,
    incoherence,
    measure,
    regression,
    statistics,
)
from grounded.figures.judgments.panels import dots, draw, stack
from grounded.figures.judgments.reading import legend, reading

__all__ = [
    "agreement",
    "by_truth",
    "composition",
    "data",
    "dots",
    "draw",
    "incoherence",
    "legend",
    "measure",
    "reading",
    "regression",
    "stack",
    "statistics",
]
