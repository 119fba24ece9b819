"""How far to trust the judges: against the truth, each other, their successors, and corrected."""

from grounded.figures.trust.captions import legend, legend_agreement
from grounded.figures.trust.correction import affordable, correction
from grounded.figures.trust.numbers import (
    Measured,
    data,
    measure,
    pairs,
    reliability,
    shifts,
    statistics,
    variance,
    versions,
)
from grounded.figures.trust.panels import draw, draw_agreement
from grounded.figures.trust.reading import main_task, reading
from grounded.figures.trust.tables import (
    agreement_table,
    correction_table,
    shift_table,
    truth_table,
    variance_table,
    version_table,
)

__all__ = [
    "Measured",
    "affordable",
    "agreement_table",
    "correction",
    "correction_table",
    "data",
    "draw",
    "draw_agreement",
    "legend",
    "legend_agreement",
    "main_task",
    "measure",
    "pairs",
    "reading",
    "reliability",
    "shift_table",
    "shifts",
    "statistics",
    "truth_table",
    "variance",
    "variance_table",
    "version_table",
    "versions",
]
