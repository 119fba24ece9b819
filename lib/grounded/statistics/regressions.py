"""Regressions whose errors are clustered by run, because a run's checkpoints share its history."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.regression.linear_model import OLS

from grounded.statistics.intervals import Array

NAN = float("nan")
NO_FIT = "No regression: fewer than two runs, or regressors that do not vary on their own."
SEPARATED = 12.0  # log-odds beyond this say only that an outcome never, or always, occurred


def ols(formula: str, frame: pd.DataFrame, groups: str = "run") -> Any | None:
    """Least squares with errors clustered by `groups`; rows with a missing value are left out.

    The fitted statsmodels results (t with clusters - 1 degrees of freedom), or None where fewer
    than two clusters are left, no more rows than coefficients, or the regressors cannot be told
    apart.
    """
    model = OLS.from_formula(formula, frame.reset_index(drop=True), missing="drop")
    codes = _codes(model, frame, groups)
    if not _can_be_fitted(model, codes):
        return None
    return model.fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)


def binomial(terms: str, counts: pd.DataFrame, groups: str = "run") -> Any | None:
    """Logistic regression of k yes among n, errors clustered by `groups`.

    counts: one row a cell of replies that share the regressors `terms` (k, n and those columns).
    These are sufficient: coefficients, deviance differences and clustered errors are those of one
    row a reply, up to the factor rows/(rows - 1) that statsmodels puts on the latter.
    None where fewer than two clusters are left or the regressors cannot be told apart.
    """
    some = counts[counts["n"] > 0].reset_index(drop=True)
    some = some.assign(yes=some["k"].astype(float), no=(some["n"] - some["k"]).astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # separation is told by `separated`
        model = GLM.from_formula(f"yes + no ~ {terms}", some, family=Binomial(), missing="drop")
        codes = _codes(model, some, groups)
        if not _can_be_fitted(model, codes):
            return None
        return model.fit(cov_type="cluster", cov_kwds={"groups": codes})


def _can_be_fitted(model: Any, codes: Array) -> bool:
    """Whether there are clusters to tell the spread from, and no regressor repeats the others.

    As many rows as coefficients would leave nothing to tell an error from.
    """
    rows, terms = model.exog.shape
    rank = np.linalg.matrix_rank(model.exog) if len(codes) else 0
    return len(np.unique(codes)) > 1 and bool(rank == terms < rows)


def separated(result: Any) -> list[str]:
    """The terms of a logistic regression whose size means nothing: the outcome never varied."""
    beyond = ~(np.abs(result.params) < SEPARATED) | ~np.isfinite(result.bse)
    return [str(name) for name in result.params.index[beyond]]


def _codes(model: Any, frame: pd.DataFrame, groups: str) -> Array:
    kept = frame[groups].reset_index(drop=True).loc[model.data.row_labels]
    return pd.factorize(kept, sort=True)[0]


def terms(result: Any) -> pd.DataFrame:
    """The coefficients of a fit as a frame: term, estimate, error, low, high, p."""
    interval = np.asarray(result.conf_int())
    return pd.DataFrame(
        {
            "term": list(result.model.exog_names),
            "estimate": np.asarray(result.params),
            "error": np.asarray(result.bse),
            "low": interval[:, 0],
            "high": interval[:, 1],
            "p": np.asarray(result.pvalues),
        }
    )


def summary(result: Any | None) -> Any:
    """statsmodels' own table of a fit, without the clock; a sentence where there is no fit."""
    if result is None:
        return NO_FIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # normality tests of few rows; we read none of them
        table = result.summary()
    for row in table.tables[0]:
        for label, value in zip(row, row[1:], strict=False):
            if str(label.data).strip() in ("Date:", "Time:"):
                label.data = value.data = ""
    return table


def wald(result: Any) -> pd.DataFrame:
    """Joint test of each term of a fit, clustered as the fit is: term, statistic, df, p."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clusters fewer than constraints: told by the caller's n
        found = result.wald_test_terms(skip_single=False, scalar=True).table
    found = found.rename(columns={"pvalue": "p", "df_constraint": "df"})
    return found.rename_axis("term").reset_index()[["term", "statistic", "df", "p"]]


def r2(result: Any) -> float:
    """R2 of a least-squares fit; nan where the outcome never varies."""
    outcome = np.asarray(result.model.endog)
    return float(result.rsquared) if float(outcome.var()) > 1e-12 else NAN


def left_out_r2(x: Array, y: Array, groups: Sequence[Any]) -> float:
    """R2 of predictions for runs that the line has not seen.

    Each run is predicted by least squares on the others (x: rows x columns, intercept included),
    and compared with the mean of the others; negative when the line does worse than that mean.
    nan with fewer than two runs or where y never varies.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    codes = pd.factorize(np.asarray(groups))[0]
    number = codes.max() + 1 if len(codes) else 0
    if number < 2:
        return NAN
    xx = np.stack([x[codes == g].T @ x[codes == g] for g in range(number)])
    xy = np.stack([x[codes == g].T @ y[codes == g] for g in range(number)])
    sums, sizes = np.bincount(codes, y), np.bincount(codes)
    error = total = 0.0
    for g in range(number):
        own = codes == g
        slopes = np.linalg.lstsq(xx.sum(0) - xx[g], xy.sum(0) - xy[g], rcond=1e-12)[0]
        error += float(((y[own] - x[own] @ slopes) ** 2).sum())
        mean = (sums.sum() - sums[g]) / (sizes.sum() - sizes[g])
        total += float(((y[own] - mean) ** 2).sum())
    return 1 - error / total if total > 1e-12 else NAN


def reliability(share: pd.Series, items: pd.Series) -> float:
    """How much of the variance of a measured share is not sampling of its items, at most 1.

    1 - mean(SE^2) / Var, with SE^2 = p(1-p)/(items - 1). A slope on the share is flattened by
    this factor, and so is R2. nan where the share never varies.
    """
    variance = float(share.var(ddof=1)) if len(share) > 1 else 0.0
    if not variance > 0:
        return NAN
    return 1 - float((share * (1 - share) / (items - 1)).mean()) / variance


@dataclass(frozen=True)
class Line:
    """A rate on capability across checkpoints of runs; errors clustered by run, nan if undefined.

    slope: change of the rate when capability goes from 0 to 1, pooled as the paper's figure is.
    within, between: slopes over a run's own checkpoints and over runs' means (Mundlak).
    left_out: R2 for unseen runs. reliability: of capability; corrected: R2 / reliability.
    odds: the binomial GLM's log-odds for the same step, with its bounds.
    """

    n: int
    runs: int
    intercept: float
    slope: float
    low: float
    high: float
    p: float
    r2: float
    left_out: float
    within: float
    within_low: float
    within_high: float
    between: float
    between_low: float
    between_high: float
    differ_p: float
    reliability: float
    corrected: float
    odds: float
    odds_low: float
    odds_high: float
    odds_p: float
    separated: bool


def line(frame: pd.DataFrame, run: str = "run") -> Line:
    """The line of `rate` on `capability` over checkpoints, with what may be wrong with it.

    frame: one row a checkpoint, base models left out: run, capability, items, rate, k, n.
    """
    frame = frame.dropna(subset=["capability", "rate"])
    runs = frame[run].nunique()
    found = dict.fromkeys((f for f in Line.__dataclass_fields__), NAN)
    found |= {"n": len(frame), "runs": runs, "separated": False}
    pooled = ols("rate ~ capability", frame, run) if frame["capability"].var() > 0 else None
    if pooled is None:
        return Line(**found)  # type: ignore[arg-type]
    varies = bool(frame["rate"].var() > 0)
    found["intercept"] = float(pooled.params["Intercept"])
    found |= _bounds(pooled, "capability", ("slope", "low", "high", "p"))
    found["r2"] = r2(pooled)
    found["left_out"] = left_out_r2(pooled.model.exog, pooled.model.endog, frame[run])
    mean = frame.groupby(run, observed=True)["capability"].transform("mean")
    split = frame.assign(mean_capability=mean, own=frame["capability"] - mean)
    if (both := ols("rate ~ own + mean_capability", split, run)) is not None:
        found |= _bounds(both, "own", ("within", "within_low", "within_high"))
        found |= _bounds(both, "mean_capability", ("between", "between_low", "between_high"))
        if varies:
            found["differ_p"] = float(both.t_test("own - mean_capability = 0").pvalue)
    found["reliability"] = reliability(frame["capability"], frame["items"])
    if found["reliability"] > 0 and varies:
        found["corrected"] = min(1.0, found["r2"] / found["reliability"])
    if varies:
        logistic = binomial("capability", frame, run)
        assert logistic is not None
        found |= _bounds(logistic, "capability", ("odds", "odds_low", "odds_high", "odds_p"))
        found["separated"] = bool(separated(logistic))
    return Line(**found)  # type: ignore[arg-type]


def _bounds(result: Any, term: str, names: Sequence[str]) -> dict[str, float]:
    row = terms(result).set_index("term").loc[term]
    return dict(zip(names, (float(row[n]) for n in ("estimate", "low", "high", "p")), strict=False))


def band(frame: pd.DataFrame, at: Array, run: str = "run") -> tuple[Array, Array, Array]:
    """The least-squares line of rate on capability at `at`, with its 95% band clustered by run."""
    result = ols("rate ~ capability", frame, run)
    if result is None:
        return tuple(np.full(len(at), NAN) for _ in range(3))  # type: ignore[return-value]
    x = np.column_stack([np.ones(len(at)), at])
    middle = x @ np.asarray(result.params)
    variance = np.einsum("ij,jk,ik->i", x, np.asarray(result.cov_params()), x)
    clusters = frame.dropna(subset=["capability", "rate"])[run].nunique()
    half = stats.t.ppf(0.975, clusters - 1) * np.sqrt(np.maximum(variance, 0))
    return middle, middle - half, middle + half


def partial_r2(frame: pd.DataFrame, outcome: str, others: str, term: str) -> float:
    """How much of what `others` leave unexplained the term explains, 0..1; nan where nothing is."""
    small = OLS.from_formula(f"{outcome} ~ {others}", frame, missing="drop").fit()
    large = OLS.from_formula(f"{outcome} ~ {others} + {term}", frame, missing="drop").fit()
    return 1 - float(large.ssr) / float(small.ssr) if small.ssr > 1e-12 else NAN
