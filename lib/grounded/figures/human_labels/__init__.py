"""Figure 5: the field's judges beside people, on the same completions."""

from grounded.figures.human_labels.panels import draw, keep
from grounded.figures.human_labels.reading import legend, reading

__all__ = ["draw", "keep", "legend", "reading"]
