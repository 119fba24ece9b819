"""What it all says: one row a claim, with its estimate, interval, adjusted p and verdict."""

from grounded.figures.claims.numbers import claims, twins
from grounded.figures.claims.panels import draw
from grounded.figures.claims.reading import keep, legend, reading, table, twin_table

__all__ = ["claims", "draw", "keep", "legend", "reading", "table", "twin_table", "twins"]
