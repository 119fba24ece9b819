"""Statistics against hand formulas, other libraries, and truths that we planted ourselves."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp, ttest_ind
from sklearn.metrics import cohen_kappa_score, confusion_matrix, recall_score

from grounded.statistics import agreement, intervals, jackknife, paired

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
    assert all(math.isnan(x) for x in intervals.bootstrap(counts[:1], lambda s: s[:, 0]))
    assert all(math.isnan(x) for x in intervals.bootstrap(counts * 0, lambda s: s[:, 0] / s[:, 1]))


def test_bootstrap_intervals_cover_a_planted_rate() -> None:
    draw, hits = np.random.default_rng(7), 0
    for _ in range(100):
        shares = draw.beta(3, 7, 30)  # mean .3
        counts = np.column_stack([draw.binomial(50, shares), np.full(30, 50)])
        low, high = intervals.bootstrap(counts, lambda s: s[:, 0] / s[:, 1], draws=400)
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 100 <= 0.99


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.2, "rises"), (-0.2, -0.01, "falls"), (-0.1, 0.1, "unclear"), (0, 0, "unclear"),
     (float("nan"), float("nan"), "unclear")],
)  # fmt: skip
def test_conclusions(low: float, high: float, said: str) -> None:
    assert paired.conclusion(low, high) == said


def _answers(change: float, runs: int = 12, prompts: int = 60, seed: int = 0) -> pd.DataFrame:
    """Pairs in which runs and prompts both have a say of their own; `change` is the truth."""
    draw = np.random.default_rng(seed)
    run, prompt = draw.normal(0, 0.15, runs), draw.normal(0, 0.25, prompts)
    base = (draw.random(prompts) < 0.4).astype(float)
    luck = draw.normal(0, 0.3, (runs, prompts))
    last = base + change + run[:, None] + prompt[None, :] - (base - 0.4) + luck
    return pd.DataFrame(
        {
            "run": np.repeat(np.arange(runs), prompts), "prompt": np.tile(np.arange(prompts), runs),
            "cell": "c", "base": np.tile(base, runs), "last": last.ravel(),
        }
    )  # fmt: skip


def test_changes_cluster_by_run_and_by_prompt() -> None:
    pairs = _answers(0.2)
    row = paired.changes(pairs, ["cell"]).iloc[0]
    both = pairs.assign(d=pairs["last"] - pairs["base"])
    e = both["d"] - both["d"].mean()
    one = (e.groupby(both["run"]).sum() ** 2).sum() * 12 / 11
    two = (e.groupby(both["prompt"]).sum() ** 2).sum() * 60 / 59
    half = 2.200985 * math.sqrt(one + two - (e**2).sum()) / len(e)  # t(11), 97.5%
    assert row["change"] == pytest.approx(both["d"].mean())
    assert (row["low"], row["high"]) == pytest.approx((row["change"] - half, row["change"] + half))
    assert row["base"] == pytest.approx(pairs["base"].mean()) and row["n"] == 720
    assert row["conclusion"] == "rises" and (row["runs"], row["prompts"]) == (12, 60)
    down = paired.changes(pairs.rename(columns={"base": "last", "last": "base"}), ["cell"])
    assert down["conclusion"].tolist() == ["falls"]


def test_intervals_of_change_cover_the_truth() -> None:
    found = [paired.changes(_answers(0.0, seed=s), ["cell"]).iloc[0] for s in range(100)]
    hits = sum(row["low"] <= 0 <= row["high"] for row in found)
    narrow = 0  # what clustering by run alone would give
    for seed in range(100):
        pairs = _answers(0.0, seed=seed)
        means = (pairs["last"] - pairs["base"]).groupby(pairs["run"]).mean()
        narrow += ttest_1samp(means, 0).pvalue > 0.05
    assert hits >= 88 and narrow < hits


def test_what_every_run_loses_on_five_prompts_is_no_certain_fall() -> None:
    # a base model with 5 harmful replies of 300, all gone in all of six runs
    pairs = pd.DataFrame(
        [("c", run, prompt, float(prompt < 5), 0.0) for run in range(6) for prompt in range(300)],
        columns=["cell", "run", "prompt", "base", "last"],
    )
    row = paired.changes(pairs, ["cell"]).iloc[0]
    assert row["change"] == pytest.approx(-5 / 300) and row["conclusion"] == "unclear"
    pairs["base"] = (pairs["prompt"] < 60).astype(float)
    assert paired.changes(pairs, ["cell"])["conclusion"].tolist() == ["falls"]


def test_missing_pairs_are_left_out_counted_and_imputed_both_ways() -> None:
    nan = float("nan")
    pairs = pd.DataFrame(
        {
            "cell": "c", "run": [0, 0, 1, 1, 1, 1], "prompt": [0, 1, 0, 1, 2, 3],
            "base": [0, 1, 0, 1, 0, nan], "last": [1, 1, 1, 1, nan, 1],
        }
    )  # fmt: skip
    row = paired.changes(pairs, ["cell"]).iloc[0]
    assert (row["n"], row["missing"], row["change"]) == (4, 2, 0.5)
    assert row["if_missing_are_0"] == pytest.approx((1 + 0 + 1 + 0 + 0 + 1) / 6)
    assert row["if_missing_are_1"] == pytest.approx((1 + 0 + 1 + 0 + 1 + 0) / 6)
    assert paired.changes(pairs[pairs["run"] == 0], ["cell"])["conclusion"].tolist() == ["unclear"]
    none = paired.changes(pairs.assign(last=nan), ["cell"]).iloc[0]
    assert none["n"] == 0 and math.isnan(none["change"]) and none["conclusion"] == "unclear"


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
    assert all(math.isnan(value) for value in agreement.estimates(np.zeros((2, 4))).values())


# ---- leaving out one seed at a time


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(2).normal(size=9)
    found = jackknife.estimate(values, range(9))
    assert found.value == pytest.approx(values.mean()) and found.freedom == 8
    assert found.error == pytest.approx(values.std(ddof=1) / 3)
    low, high, p = found.tested()
    wanted = ttest_1samp(values, 0)
    assert p == pytest.approx(wanted.pvalue)
    assert (low, high) == pytest.approx(tuple(wanted.confidence_interval(0.95)))


def test_pooled_cells_have_welchs_degrees_of_freedom() -> None:
    draw = np.random.default_rng(3)
    one, two = draw.normal(0, 1, 7), draw.normal(0, 4, 5)
    cells = [jackknife.estimate(sign * x, range(len(x))) for sign, x in ((1, one), (-1, two))]
    found = jackknife.pooled(cells)
    welch = ttest_ind(one, two, equal_var=False)
    assert found.tested()[2] == pytest.approx(welch.pvalue)
    assert found.freedom == pytest.approx(welch.df)
    assert 2 * found.value == pytest.approx(one.mean() - two.mean())


def test_without_a_second_group_there_is_no_error() -> None:
    found = jackknife.estimate(np.array([1.0, 2.0]), ["s", "s"])
    assert found.value == 1.5 and np.isnan(found.error) and np.isnan(found.tested()).all()
    assert jackknife.Estimated(0.0, 0.0, 4).tested() == (0.0, 0.0, 1.0)
