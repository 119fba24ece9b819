"""Figure 4: does the conclusion about safety change with the benchmark and with the judge?"""

from grounded.figures.benchmarks.numbers import (
    conclusions,
    curves,
    dependence,
    everyone,
    main_model,
    measure,
    regression,
    statistics,
    table,
    tests,
)
from grounded.figures.benchmarks.panels import draw, matrix, panel
from grounded.figures.benchmarks.reading import legend, reading

__all__ = [
    "conclusions",
    "curves",
    "dependence",
    "draw",
    "everyone",
    "legend",
    "main_model",
    "matrix",
    "measure",
    "panel",
    "reading",
    "regression",
    "statistics",
    "table",
    "tests",
]
