"""How well two raters agree on yes or no, and how well several do on labels; runs resampled whole.

Two raters are told by the four counts of their table, a row a run (or whatever is resampled
whole): tp, both say yes; fp, only the rater; fn, only the reference; tn, neither. A measure is a
function of such counts (rows x 4) that gives a value a row, nan where it is not defined. Of the
measures scikit-learn and statsmodels have those for single labels; they lack Gwet's AC1,
Krippendorff's alpha, and intervals that keep runs whole.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from grounded.statistics.intervals import Array, bootstrap

CELLS = ("tp", "fp", "fn", "tn")
Measure = Callable[[Array], Array]


def sensitivity(cells: Array) -> Array:
    """The share of true cases that the rater finds; 0..1."""
    return cells[:, 0] / (cells[:, 0] + cells[:, 2])


def specificity(cells: Array) -> Array:
    """The share of false cases that the rater leaves alone; 0..1."""
    return cells[:, 3] / (cells[:, 3] + cells[:, 1])


def kappa(cells: Array) -> Array:
    """Cohen's kappa (1960): agreement beyond that of two raters with the same shares of yes."""
    tp, fp, fn, tn = cells.T
    n = tp + fp + fn + tn
    chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2
    return ((tp + tn) / n - chance) / (1 - chance)


def ac1(cells: Array) -> Array:
    """Gwet's AC1 (2008, Br J Math Stat Psychol 61): chance agreement is 2q(1-q).

    q: the mean of the two shares of yes. It does not collapse where nearly all cases are alike.
    """
    tp, fp, fn, tn = cells.T
    n = tp + fp + fn + tn
    q = (2 * tp + fp + fn) / (2 * n)
    chance = 2 * q * (1 - q)
    return ((tp + tn) / n - chance) / (1 - chance)


def alpha(cells: Array) -> Array:
    """Krippendorff's alpha for two raters, nominal, none missing: 1 - observed / expected.

    Observed disagreement (fp + fn) / n; expected 2 n1 n0 / (m (m - 1)) of the m = 2n labels, n1
    yes and n0 no (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C).
    """
    tp, fp, fn, tn = cells.T
    yes, no = 2 * tp + fp + fn, 2 * tn + fp + fn
    m = yes + no
    return 1 - (fp + fn) / (m / 2) * m * (m - 1) / (2 * yes * no)


MEASURES: dict[str, Measure] = {
    "sensitivity": sensitivity, "specificity": specificity, "kappa": kappa, "ac1": ac1,
}  # fmt: skip


def four(yes: npt.ArrayLike, truth: npt.ArrayLike, runs: Sequence[object]) -> pd.DataFrame:
    """The four counts of each run, in order of first appearance.

    yes, truth: 1, 0, or nan where there is no verdict; a case without both is in no count, and its
    run stays.
    """
    said, holds = np.asarray(yes, dtype=float), np.asarray(truth, dtype=float)
    codes, names = pd.factorize(np.asarray(runs))
    both = np.isfinite(said) & np.isfinite(holds)
    place = 4 * codes[both] + 2 * (said[both] == 0) + (holds[both] == 0)
    counts = np.bincount(place, minlength=4 * len(names)).reshape(len(names), 4)
    return pd.DataFrame(counts.astype(float), names, list(CELLS))


def estimates(
    counts: "pd.DataFrame | Array", measures: Mapping[str, Measure] = MEASURES
) -> dict[str, float]:
    """Each measure of the summed counts (runs x columns), with bounds from resampling runs.

    Flat: `kappa`, `kappa_low`, `kappa_high` and so on; nan where a measure is not defined, and for
    the bounds where `intervals.bootstrap` gives none.
    """
    runs = np.asarray(counts, dtype=float)
    found: dict[str, float] = {}
    for name, measure in measures.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(measure(runs.sum(0, keepdims=True))[0])
        low, high = bootstrap(runs, measure) if np.isfinite(value) else (np.nan, np.nan)
        found[name] = value if np.isfinite(value) else np.nan
        found[f"{name}_low"], found[f"{name}_high"] = low, high
    return found


def raters(labels: pd.DataFrame, clusters: "pd.Series[int]") -> dict[str, float]:
    """How raters (columns) agree on nominal labels of the same items (rows), none missing.

    items, raters; unanimous: the share of items; kappa: Cohen's, mean over pairs; alpha:
    Krippendorff's (2011) and ac1: Gwet's for many raters (2008), with bounds from resampling whole
    clusters of items. nan where there is one label alone.
    """
    values = np.unique(labels.to_numpy().astype(str))
    votes = np.stack([(labels.astype(str) == value).sum(axis=1) for value in values], axis=1)
    number = labels.shape[1]
    agreed = (votes * (votes - 1)).sum(axis=1) / (number * (number - 1))
    items = pd.DataFrame(np.column_stack([agreed, votes])).groupby(clusters.to_numpy(), sort=False)
    sums = np.column_stack([items.size(), items.sum()])
    pairs = [cohen_kappa_score(labels[a], labels[b]) for a, b in combinations(labels, 2)]
    return {
        "items": len(labels),
        "raters": number,
        "unanimous": float((votes.max(axis=1) == number).mean()),
        "kappa": float(np.mean(pairs)) if len(values) > 1 else np.nan,
        **estimates(sums, {"alpha": _alpha_of_many, "ac1": _ac1_of_many}),
    }


def _alpha_of_many(sums: Array) -> Array:
    """sums: items, agreed pairs (as shares), and the votes for each label."""
    items, agreed, votes = sums[:, 0], sums[:, 1], sums[:, 2:]
    labels = votes.sum(axis=1)
    chance = (votes * (votes - 1)).sum(axis=1) / (labels * (labels - 1))
    return 1 - (1 - agreed / items) / (1 - chance)


def _ac1_of_many(sums: Array) -> Array:
    items, agreed, votes = sums[:, 0], sums[:, 1], sums[:, 2:]
    shares = votes / votes.sum(axis=1, keepdims=True)
    chance = (shares * (1 - shares)).sum(axis=1) / (votes.shape[1] - 1)
    return (agreed / items - chance) / (1 - chance)
