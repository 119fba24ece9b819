"""Statistics against hand formulas, other libraries, and truths that we planted ourselves."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import ttest_1samp
from sklearn.metrics import cohen_kappa_score, confusion_matrix, recall_score
from statsmodels.stats.proportion import proportion_confint

from grounded.statistics import agreement, intervals, ranking

# ---- intervals


def test_wilson_by_hand_and_at_the_edges() -> None:
    k, n, z = 45, 450, 1.959964
    middle = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    low, high = intervals.wilson([k, 0, 7, 0], [n, 10, 7, 0])
    assert low[0] == pytest.approx(middle - half) and high[0] == pytest.approx(middle + half)
    assert (round(low[0], 3), round(high[0], 3)) == (0.076, 0.131)
    assert low[1] == 0 and high[1] < 0.3 and high[2] == 1 and low[2] > 0.6
    assert math.isnan(low[3]) and math.isnan(high[3])


def test_pairs_by_hand_and_where_nothing_moved() -> None:
    up, down, n = 12, 3, 50
    low, high, variance = intervals.paired([1] * up + [-1] * down + [0] * (n - up - down))
    middle = (up - down) / (n + 2)
    assert variance == pytest.approx((up + down + 1) / (n + 2) - middle**2)
    assert [low, high] == pytest.approx(
        [middle + side * 1.96 * math.sqrt(variance / (n + 2)) for side in (-1, 1)]
    )
    low, high, _ = intervals.paired(np.zeros(20))
    assert low == -high < 0


def test_bootstrap_resamples_runs_not_replies() -> None:
    draw = np.random.default_rng(5)
    shares = draw.uniform(0, 1, 40)  # runs differ, replies within a run agree with it
    counts = np.column_stack([np.round(1000 * shares), np.full(40, 1000)])
    low, high = intervals.bootstrap(counts, lambda s: s[:, 0] / s[:, 1])
    rate = counts[:, 0].sum() / counts[:, 1].sum()
    normal = 1.96 * (counts[:, 0] / 1000).std() / math.sqrt(40)
    assert (low, high) == pytest.approx((rate - normal, rate + normal), abs=0.02)
    w_low, w_high = intervals.wilson([counts[:, 0].sum()], [40_000])
    assert high - low > 10 * (w_high - w_low)[0]
    assert intervals.bootstrap(counts, lambda s: s[:, 0] / s[:, 1]) == (low, high)
    few = counts[: intervals.FEWEST - 1]  # too few to resample
    assert all(math.isnan(x) for x in intervals.bootstrap(few, lambda s: s[:, 0]))
    assert all(math.isnan(x) for x in intervals.bootstrap(counts * 0, lambda s: s[:, 0] / s[:, 1]))


def test_bootstrap_intervals_cover_a_planted_rate() -> None:
    draw, hits = np.random.default_rng(7), 0
    for _ in range(100):
        shares = draw.beta(3, 7, 30)  # mean .3
        counts = np.column_stack([draw.binomial(50, shares), np.full(30, 50)])
        low, high = intervals.bootstrap(counts, lambda s: s[:, 0] / s[:, 1], draws=400)
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 100 <= 0.99


# ---- agreement


def _pairs(seed: int, n: int = 400, yes: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.random(n) < yes
    return truth, np.where(draw.random(n) < 0.85, truth, ~truth)


@pytest.mark.parametrize("seed", range(4))
def test_agreement_against_scikit_learn(seed: int) -> None:
    truth, said = _pairs(seed)
    cells = agreement.four(said, truth, range(len(truth)))
    (tn, fp), (fn, tp) = confusion_matrix(truth, said)
    assert cells.sum().tolist() == [tp, fp, fn, tn]
    found = agreement.estimates(cells)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, said))
    assert found["sensitivity"] == pytest.approx(recall_score(truth, said))
    assert found["specificity"] == pytest.approx(recall_score(~truth, ~said))
    for name in agreement.MEASURES:
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_a_missing_verdict_is_in_no_count_and_its_run_stays() -> None:
    cells = agreement.four([1, np.nan, 0], [1, 1, 1], ["b", "a", "b"])
    assert cells.loc["b"].tolist() == [1, 0, 1, 0] and cells.loc["a"].sum() == 0
    assert list(cells.index) == ["b", "a"]


def test_ac1_by_hand() -> None:
    # 118 both yes, 5 + 2 disagree, 0 both no: kappa collapses, AC1 does not
    rows = np.array([[118.0, 5, 2, 0], [7, 0, 0, 3], [0, 5, 5, 0]])
    q = (2 * 118 + 5 + 2) / (2 * 125)
    chance = 2 * q * (1 - q)
    found = agreement.ac1(rows)
    assert found == pytest.approx([(118 / 125 - chance) / (1 - chance), 1, -1])
    assert found[0] > 0.93 and agreement.kappa(rows)[0] < 0 and agreement.kappa(rows)[1] == 1


def test_alpha_is_krippendorffs() -> None:
    draw = np.random.default_rng(3)
    for cells in (*draw.integers(1, 40, (20, 4)), np.array([500, 3, 0, 2])):
        labels = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], cells, axis=0)
        # as defined: disagreement within cases over that of all pairs of labels
        every = labels.ravel()
        unlike = (every[:, None] != every[None, :]).sum() / (len(every) * (len(every) - 1))
        wanted = 1 - (labels[:, 0] != labels[:, 1]).mean() / unlike
        assert agreement.alpha(cells[None].astype(float))[0] == pytest.approx(wanted)


def test_intervals_of_agreement_are_the_spread_of_new_samples() -> None:
    draw = np.random.default_rng(2)
    cells = draw.multinomial(1, [0.25, 0.08, 0.05, 0.62], size=(2000, 500))
    for name, measure in agreement.MEASURES.items():
        spread = measure(cells.sum(1).astype(float)).std()
        one = agreement.estimates(cells[0], {name: measure})
        width = one[f"{name}_high"] - one[f"{name}_low"]
        assert width / (2 * 1.96) == pytest.approx(spread, rel=0.25)


def test_agreement_that_is_not_defined_says_so() -> None:
    found = agreement.estimates(np.array([[0.0, 0, 0, 9], [0, 0, 0, 4]]))
    assert math.isnan(found["sensitivity"]) and math.isnan(found["kappa"])
    assert found["specificity"] == found["ac1"] == 1
    alike = agreement.estimates(np.tile([0.0, 0, 0, 9], (30, 1)))  # no draw says how sure that is
    assert (alike["specificity_low"], alike["specificity_high"]) == pytest.approx(
        proportion_confint(30, 30, method="wilson")
    )
    assert all(math.isnan(value) for value in agreement.estimates(np.zeros((2, 4))).values())


# ---- leaving out one seed at a time


def test_the_jackknife_of_a_mean_is_students_t() -> None:
    values = np.random.default_rng(2).normal(size=9)
    without = np.array([np.delete(values, i).mean() for i in range(9)])
    low, high, p = ranking.tested(values.mean(), without)
    wanted = ttest_1samp(values, 0)
    assert p == pytest.approx(wanted.pvalue)
    assert (low, high) == pytest.approx(tuple(wanted.confidence_interval(0.95)))


def test_where_nothing_varies_there_is_no_error() -> None:
    assert ranking.tested(0.0, np.zeros(4)) == (0.0, 0.0, 1.0)
    assert np.isnan(ranking.tested(1.5, np.full(4, 1.5))).all()


def test_errors_by_run_are_the_spread_of_the_means_of_runs() -> None:
    draw = np.random.default_rng(3)
    d = pd.DataFrame({"run": np.repeat([*"abcdefgh"], 50), "prompt": np.tile(range(50), 8)})
    d["y"] = d["run"].factorize()[0] + draw.normal(size=len(d))  # runs differ, prompts do not
    ways = {way: intervals.clusters(d, *way) for way in (("run", "prompt"), ("run",), ("prompt",))}
    fits = {way: smf.ols("y ~ 1", d).fit(use_t=True, **told) for way, told in ways.items()}
    means = ttest_1samp(d.groupby("run")["y"].mean(), 0).confidence_interval(intervals.LEVEL)
    by_run = intervals.terms(fits[("run",)]).loc["Intercept"]
    assert by_run["estimate"] == pytest.approx(d["y"].mean())
    assert by_run[["low", "high"]].tolist() == pytest.approx([*means], rel=0.01)
    lengths = {way: np.ptp(fit.conf_int().iloc[0]) for way, fit in fits.items()}
    found = intervals.widest(fits.values()).loc["Intercept"]
    assert found["high"] - found["low"] == pytest.approx(max(lengths.values()))
    assert max(lengths.values()) > 3 * lengths[("prompt",)]


def test_each_term_of_a_regression_gets_the_widest_of_its_own_intervals() -> None:
    draw = np.random.default_rng(4)
    d = pd.DataFrame({"run": np.repeat(range(12), 40), "prompt": np.tile(range(40), 12)})
    d["x"], d["z"] = d["run"] % 2 - 0.5, d["prompt"] % 2 - 0.5
    d["y"] = 3 * draw.normal(size=12)[d["run"]] + 3 * draw.normal(size=40)[d["prompt"]]
    d["y"] += draw.normal(size=len(d))
    fits = [
        smf.ols("y ~ x * z", d).fit(use_t=True, **intervals.clusters(d, way))
        for way in ("run", "prompt")
    ]
    widths = [intervals.terms(fit).eval("high - low") for fit in fits]
    assert widths[0]["x"] > 2 * widths[1]["x"] and widths[1]["z"] > 2 * widths[0]["z"]
    found = intervals.widest(fits)
    assert list(found.index) == ["Intercept", "x", "z", "x:z"]
    assert found.eval("high - low").tolist() == pytest.approx(list(np.maximum(*widths)))
