"""How the field's judges agree with people: measured here, or as committed when data is absent."""

from grounded.human_labels.completions import JUDGES, KEYWORDS, XSTEST_MODELS
from grounded.human_labels.numbers import FIGURE, GUARD, Numbers, numbers

__all__ = ["FIGURE", "GUARD", "JUDGES", "KEYWORDS", "XSTEST_MODELS", "Numbers", "numbers"]
