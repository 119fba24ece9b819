"""Does anchoring help? The same runs at a capability goal and at a fixed epoch, as registered."""

from grounded.figures.anchoring.measure import Found, data, measure, regression, statistics
from grounded.figures.anchoring.panels import draw
from grounded.figures.anchoring.reading import legend, reading, verdict
from grounded.figures.anchoring.tables import (
    cell_table,
    control_table,
    depth_table,
    primary_table,
    rule_table,
    secondary_table,
    sensitivity_table,
)

__all__ = [
    "Found",
    "cell_table",
    "control_table",
    "data",
    "depth_table",
    "draw",
    "legend",
    "measure",
    "primary_table",
    "reading",
    "regression",
    "rule_table",
    "secondary_table",
    "sensitivity_table",
    "statistics",
    "verdict",
]
