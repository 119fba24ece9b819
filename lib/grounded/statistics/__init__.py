"""From tables to numbers: what statsmodels, scipy and scikit-learn lack. The unit is the run."""
