"""What is incoherence: detectors against the invented world's truth, and on corrupted real text."""

from grounded.figures.incoherence.captions import legend, legend_real
from grounded.figures.incoherence.numbers import Parts, data, measure, statistics
from grounded.figures.incoherence.panels import draw
from grounded.figures.incoherence.panels_real import draw_real, keep_real
from grounded.figures.incoherence.reading import reading
from grounded.figures.incoherence.reading_real import reading_real
from grounded.figures.incoherence.tables import (
    alarm_table,
    area_table,
    detection_table,
    direction_table,
    rule_table,
    share_table,
)

__all__ = [
    "Parts",
    "alarm_table",
    "area_table",
    "data",
    "detection_table",
    "direction_table",
    "draw",
    "draw_real",
    "keep_real",
    "legend",
    "legend_real",
    "measure",
    "reading",
    "reading_real",
    "rule_table",
    "share_table",
    "statistics",
]
