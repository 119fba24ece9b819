"""Where runs stand, how far they spread there, and whether the tests of it keep what they say."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import kendalltau
from statsmodels.stats.anova import anova_lm

from grounded import anchor, at_goal
from grounded.errors import GroundedError
from grounded.statistics import ranking
from grounded.statistics.spread import components, log_ratio, power, shares
from grounded.study.anchoring import Goals

# ---- which checkpoint is at a goal

COURSE = {2: 0.20, 4: 0.43, 6: 0.57, 8: 0.48, 10: 0.9}


@pytest.mark.parametrize(
    ("goal", "tolerance", "step"),
    [(0.5, 0.05, 8), (0.5, 0.08, 4), (0.5, 0.07, 4), (0.5, 0.01, None), (0.95, 0.04, None),
     (0.26, 0.06, 2), (0.84, 0.06, 10)],
)  # fmt: skip
def test_a_run_is_at_its_goal_at_the_first_measured_checkpoint_within_the_tolerance(
    goal: float, tolerance: float, step: int | None
) -> None:
    assert anchor.at_capability(COURSE, goal, tolerance) == step


def test_loss_falls_to_its_goal_and_the_norm_grows_to_its_own() -> None:
    goals = Goals(model="m", task="t", base=0.1, capability=0.5, loss=1.0, update_norm=3.0, epoch=1)
    loss, norm = {2: 2.0, 4: 1.0, 6: 0.5}, {2: 1.0, 4: 2.9, 6: 3.5}
    found = anchor.steps(COURSE, loss, norm, goals, 0.05)
    assert found == {"capability": 8, "loss": 4, "update_norm": 6}
    assert anchor.at_loss(loss, 0.4) is None and anchor.at_norm(norm, 4) is None


def test_a_reading_is_of_a_measured_checkpoint_or_missing() -> None:
    places = pd.DataFrame({"run": ["a", "b"], "fixed": [4, 4], "capability": [2, None],
                           "loss": [4, None], "update_norm": [None, None]})  # fmt: skip
    places = places.astype(dict.fromkeys(at_goal.STANDS, "Int64"))
    key = pd.MultiIndex.from_tuples([("a", 2), ("a", 4), ("b", 4), ("b", 6)], names=["run", "step"])
    rates = pd.Series([0.1, 0.3, math.nan, 0.9], key)
    found = at_goal.readings(places, rates)
    assert found.loc["a"].tolist()[:3] == [0.3, 0.1, 0.3] and found.loc["b"].isna().all()
    with pytest.raises(GroundedError, match="^a: found nothing measured at step 2, wanted a rate$"):
        at_goal.readings(places, rates.drop(("a", 2)))


# ---- variance components


SETTINGS, SEEDS = np.repeat(range(10), 4), np.tile(range(4), 10)


def test_components_are_those_of_the_analysis_of_variance_where_nothing_is_missing() -> None:
    x = np.random.default_rng(0).normal(size=40) + (SETTINGS == 3) + 0.5 * (SEEDS == 1)
    d = pd.DataFrame({"x": x, "setting": SETTINGS, "seed": SEEDS})
    crossed = anova_lm(smf.ols("x ~ C(setting) + C(seed)", d).fit())["mean_sq"]
    one_way = anova_lm(smf.ols("x ~ C(setting)", d).fit())["mean_sq"]
    between, within = components(x, SETTINGS, SEEDS)
    assert within == pytest.approx(one_way["Residual"])
    assert between == pytest.approx((crossed["C(setting)"] - crossed["Residual"]) / 4)
    both = components(np.stack([x + 5, 2 * x]), SETTINGS, SEEDS)
    assert [both[0][0], both[1][0]] == pytest.approx([between, within])
    assert [both[0][1], both[1][1]] == pytest.approx([4 * between, 4 * within])


def test_components_are_without_bias_where_seeds_share_luck_and_runs_are_missing() -> None:
    draw = np.random.default_rng(1)
    kept = np.r_[0:17, 18:28, 30, 33:40]
    settings, seeds = SETTINGS[kept], SEEDS[kept]
    own = draw.exponential(0.1, (4000, len(kept)))  # variance .01, skewed
    luck = draw.normal(0, 0.1, (4000, 4))[:, seeds]  # of a seed, in all settings: .01
    setting = draw.normal(0, 0.2, (4000, 10))[:, settings]  # .04
    between, within = components(setting + luck + own, settings, seeds)
    assert between.mean() == pytest.approx(0.04, rel=0.03)
    assert within.mean() == pytest.approx(0.02, rel=0.03)
    assert (components(luck + own, settings, seeds)[0] < 0).any()  # of nothing, at times less


@pytest.mark.parametrize(("settings", "seeds"), [("aaaa", "1212"), ("abcd", "1234"),
                                                 ("aabb", "1122")])  # fmt: skip
def test_components_need_two_settings_and_two_seeds_of_one(settings: str, seeds: str) -> None:
    with pytest.raises(GroundedError, match="^spread: found 4 runs of . settings and . seeds"):
        components([0.1, 0.2, 0.3, 0.4], list(settings), list(seeds))


def test_shares_weigh_cells_alike_and_favour_no_reading() -> None:
    x = np.random.default_rng(2).normal(size=(2, 40))
    found = shares(x, SETTINGS, SEEDS)
    assert found.sum(0).mean() == pytest.approx(1)
    assert shares(10 * x, SETTINGS, SEEDS) == pytest.approx(found)
    assert shares(x[::-1], SETTINGS, SEEDS) == pytest.approx(found[:, ::-1])
    between, _ = components(x, SETTINGS, SEEDS)
    assert found[0, 0] / found[0, 1] == pytest.approx(between[0] / between[1])


# ---- the ratio


def test_the_ratio_by_hand() -> None:
    over, under = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 3.0])
    found = log_ratio(over, under)
    left = np.log([6 / 5, 5 / 5, 3 / 4])
    error = math.sqrt(2 / 3 * ((left - left.mean()) ** 2).sum())
    assert found.value == pytest.approx(math.log(7 / 7), abs=1e-12)
    assert found.high == pytest.approx(4.302653 * error)
    same = log_ratio(over, 2 * over)
    assert (same.value, same.low) == pytest.approx((-math.log(2), -math.log(2)))
    assert all(np.isnan(log_ratio([1.0], [2.0])))


def test_where_nothing_is_left_the_interval_is_fiellers() -> None:
    """The bounds are the ratios at which the paired t test over cells just fails to reject."""
    over, under = np.array([-0.3, 0.1, 0.1, -0.1]), np.array([4.0, 5.0, 6.0, 5.0])
    found = log_ratio(over, under)
    assert np.isneginf(found.value) and np.isneginf(found.low) and found.p < 0.001
    moved = over - math.exp(found.high) * under
    t = moved.mean() / (moved.std(ddof=1) / 2)
    assert abs(t) == pytest.approx(3.182446, rel=1e-5)
    lost = log_ratio(over, over[::-1])
    assert np.isnan(lost.low) and lost.p > 0.5  # the lower sum is no ground to stand on


def _spreads(
    draw: np.random.Generator, cells: int, ratio: float, shared: float, worlds: int
) -> np.ndarray:
    """Between-setting variances of two readings: 10 settings x 4 seeds, cells 3 times as unlike.

    shared: how much of a setting's and of a seed's luck the two readings have in common; a seed's
    luck is shared by all settings of its cell, as runs of one seed share theirs.
    """
    found = []
    size = 0.1 * np.exp(draw.normal(0, 0.4, cells))
    for one in size:

        def both(shape: tuple[int, ...], deviation: float) -> np.ndarray:
            common, rest = draw.normal(size=shape), draw.normal(size=(2, *shape))
            return deviation * (shared**0.5 * common + (1 - shared) ** 0.5 * rest)

        setting = both((worlds, 10, 1), one)
        setting[0] *= ratio**0.5
        seed = both((worlds, 1, 4), 0.7 * one)
        own = both((worlds, 10, 4), one / 2)
        x = (setting + seed + own).reshape(2, worlds, 40)
        found.append(shares(x, SETTINGS, SEEDS)[0])
    return np.stack(found, axis=-1)


@pytest.mark.parametrize("shared", [0.0, 0.8])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_the_interval_of_the_ratio_covers_it(ratio: float, shared: float) -> None:
    over, under = _spreads(np.random.default_rng(3), 16, ratio, shared, 400)
    found = log_ratio(over, under)
    inside = (found.low <= math.log(ratio)) & (math.log(ratio) <= found.high)
    assert inside.mean() > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)
    assert np.median(found.value) == pytest.approx(math.log(ratio), abs=0.06)
    if ratio == 1:
        assert (found.p < 0.05).mean() == pytest.approx(1 - inside.mean())


def test_power_is_the_size_at_1_and_grows_with_cells_and_likeness() -> None:
    cells = np.array([[0.02, 0.006]] * 16)
    layouts = [(SETTINGS, SEEDS)] * 16
    less, more = power(cells, layouts, 1.0, worlds=600)
    assert less + more < 0.05
    alike, _ = power(cells, layouts, 0.7, worlds=300)
    unlike, _ = power(cells, layouts, 0.7, differ=0.5, worlds=300)
    few, _ = power(cells[:8], layouts[:8], 0.7, worlds=300)
    assert alike > 0.9 and unlike < alike and few < alike
    assert power(cells, layouts, 0.7, worlds=50, seed=1) == power(
        cells, layouts, 0.7, worlds=50, seed=1
    )
    assert power(cells, layouts, 1 / 0.7, worlds=300)[1] > 0.8  # it sees either way


# ---- the order of methods


def _ranked(draw: np.random.Generator, own: tuple[float, float], gap: float = 0.1) -> pd.DataFrame:
    """Eight methods, 15 seeds whose luck all methods share, and each run's own luck in two arms."""
    level, luck = gap * np.arange(8)[:, None], draw.normal(0, 0.2, 15)
    arms = [level + luck + draw.normal(0, one, (8, 15)) for one in own]
    return pd.DataFrame({
        "method": np.repeat(list("abcdefgh"), 15), "seed": np.tile(range(15), 8),
        "goal": arms[0].ravel(), "epoch": arms[1].ravel(),
    })  # fmt: skip


def test_taus_are_scipys() -> None:
    one, two = np.random.default_rng(0).integers(0, 4, (2, 50, 5)) / 4  # with ties
    expected = [kendalltau(a, b).statistic for a, b in zip(one, two, strict=True)]
    assert ranking.taus(one, two) == pytest.approx(expected, nan_ok=True)


def test_a_steadier_order_is_found_and_a_shared_seed_moves_no_order() -> None:
    draw = np.random.default_rng(1)
    found = ranking.stability(_ranked(draw, (0.02, 0.6)), ("goal", "epoch"))
    assert found["goal"] > 0.95 and found["epoch"] < 0.8
    assert found["value"] == pytest.approx(found["goal"] - found["epoch"])
    assert found["low"] > 0 and found["p"] < 0.05
    none = ranking.stability(_ranked(draw, (1e-6, 1e-6)), ("goal", "epoch"))
    assert (none["goal"], none["epoch"], none["p"]) == (1, 1, 1)  # luck that all methods share


def test_means_that_are_equal_tie_in_whatever_order_they_are_summed() -> None:
    shares = np.array([0.1, 0.2, 0.3, 0.7, 0.6, 0.5])
    values = np.stack([shares[np.random.default_rng(i).permutation(6)] for i in range(40)])
    halves = np.ones((1, 6), dtype=bool)
    found = ranking._means(values[None], halves)
    assert len(np.unique(values.mean(axis=1))) > 1 and len(np.unique(found)) == 1


def test_a_null_of_two_orders_is_rejected_as_seldom_as_it_should() -> None:
    draw = np.random.default_rng(2)
    p = [ranking.stability(_ranked(draw, (0.4, 0.4)), ("goal", "epoch"))["p"] for _ in range(100)]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_a_run_may_be_missing_and_too_few_are_one_line() -> None:
    runs = _ranked(np.random.default_rng(3), (0.05, 0.05))
    found = ranking.stability(runs.drop(index=[3, 20, 33]), ("goal", "epoch"))
    assert np.isfinite(found["value"])
    with pytest.raises(GroundedError, match="^ranking: found 8 methods of 5 seeds, wanted 2 of 6"):
        ranking.stability(runs[runs["seed"] < 5], ("goal", "epoch"))
    with pytest.raises(GroundedError, match="^ranking: found 1 methods of 15 seeds"):
        ranking.stability(runs[runs["method"] == "a"], ("goal", "epoch"))
