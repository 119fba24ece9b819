"""A page on which a reader without any software explores every result of a study."""

from grounded.explorer.numbers import data
from grounded.explorer.page import charts, frame, write

__all__ = ["charts", "data", "frame", "write"]
