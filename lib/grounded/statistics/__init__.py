"""From tables to numbers: what statsmodels, scipy and scikit-learn lack. The unit is the run."""

from grounded.statistics.paired import changes

__all__ = ["changes"]
