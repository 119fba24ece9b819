"""Anchoring on simulated runs whose harm at every capability is known."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anchored_world import BASE, SLOPE, START, World, able, harm_at, world
from scipy.stats import kendalltau, t
from sklearn.isotonic import IsotonicRegression
from statsmodels.stats.weightstats import ttost_paired

from grounded import anchors
from grounded.anchors import ranking, spread
from grounded.errors import GroundedError
from grounded.statistics import paired
from grounded.study.anchoring import provable, smallest_provable

GOAL: dict[str, Any] = {
    "metric": "strict", "scale": "absolute", "kappa": 0.6, "tolerance": 0.1, "rule": "interpolated",
}  # fmt: skip


def anchor(**changes: Any) -> anchors.Anchor:
    return anchors.Anchor.model_validate(GOAL | changes, strict=True)


def reached(w: World, rule: str = "interpolated", **changes: Any) -> tuple:
    """Goals, matched runs and single verdicts at the goal."""
    goal = anchor(rule=rule, **changes)
    goals = anchors.levels(w.curves, goal, ["cell"])
    found = anchors.match(w.curves, goals, ["cell"], goal.tolerance, rule)
    return goals, found, anchors.at(w.verdicts, found.chosen, "value", ["prompt"])


def side_by_side(w: World, fixed: anchors.Matched, anchored: anchors.Matched) -> pd.DataFrame:
    """Verdicts in both arms, on the runs that attain."""
    cells = anchored.runs.loc[anchored.runs["status"] == "attained", ["cell", "run"]]
    both = anchors.Arms(pd.DataFrame(), anchored, fixed, cells)
    return anchors.pairs(both, w.verdicts.assign(benchmark="b"), "value")


def exact(**changes: Any) -> World:
    """A world without the luck of items and verdicts: what is measured is the truth."""
    w = world(**changes)
    true = w.curves["able"]
    curves = w.curves.assign(select=true, report=true)
    harm = curves[["run", "step"]].assign(value=START + SLOPE * (true - BASE))
    verdicts = harm.merge(pd.DataFrame({"prompt": [0, 1, 2]}), how="cross")
    return World(curves, verdicts, w.answers, w.speed)


# ---- the anchor


def test_an_anchor_survives_its_file() -> None:
    goal = anchor(metric="format_free")
    assert anchors.Anchor.model_validate_json(goal.model_dump_json(), strict=True) == goal


# ---- the estimators


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_is_scikit_learns(seed: int) -> None:
    path = np.random.default_rng(seed).integers(0, 20, 30) / 20  # with ties
    expected = IsotonicRegression().fit_transform(np.arange(30), path)
    assert anchors.isotonic(path) == pytest.approx(expected)


PATH = np.array([0.1, 0.3, 0.5, 0.45, 0.8, 0.7])


@pytest.mark.parametrize(
    ("rule", "kappa", "expected"),
    [
        ("nearest", 0.46, [0, 0, 0, 1, 0, 0]),
        ("nearest", 0.75, [0, 0, 0, 0, 1, 0]),  # two are as near: the earlier
        ("nearest", 0.92, None),  # nothing within .1
        ("first_crossing", 0.46, [0, 0, 1, 0, 0, 0]),
        ("first_crossing", 0.8, [0, 0, 0, 0, 1, 0]),
        ("first_crossing", 0.81, None),
        ("interpolated", 0.2, [0.5, 0.5, 0, 0, 0, 0]),  # from the base model
        ("interpolated", 0.475, [0, 0, 1, 0, 0, 0]),  # isotonic: .475 twice, reached at once
        ("interpolated", 0.6125, [0, 0, 0, 0.5, 0.5, 0]),  # isotonic: .475 to .75
        ("interpolated", 0.76, None),  # .8 was luck: .75 is the isotonic top
        ("nearest", 0.1, None), ("first_crossing", 0.1, None), ("interpolated", 0.05, None),
    ],
)  # fmt: skip
def test_weights_by_hand(rule: str, kappa: float, expected: list | None) -> None:
    found = anchors.weights(PATH, kappa, 0.1, rule)
    if expected is None:
        assert found is None
    else:
        assert found is not None and found == pytest.approx(expected)


def test_nothing_is_ever_extrapolated() -> None:
    draw = np.random.default_rng(1)
    seen = {rule: 0 for rule in anchors.RULES}
    for _ in range(1000):
        path = draw.integers(0, 21, draw.integers(2, 9)) / 20
        kappa = float(draw.uniform(0.02, 0.98))
        for rule in anchors.RULES:
            found = anchors.weights(path, kappa, 0.05, rule)
            if path[0] >= kappa or (rule != "nearest" and path.max() < kappa):
                assert found is None
            if found is not None:
                seen[rule] += 1
                assert (found >= 0).all() and found.sum() == pytest.approx(1)
                reach = {
                    "nearest": abs(path @ found - kappa) <= 0.05 + 1e-9,
                    "first_crossing": path @ found >= kappa,
                    "interpolated": anchors.isotonic(path) @ found == pytest.approx(kappa),
                }
                assert reach[rule]  # fmt: skip
    assert min(seen.values()) > 100


def test_what_each_estimator_gets_wrong() -> None:
    w = exact(runs=200, own=0)
    truth = harm_at(0.6)
    bias = {}
    for rule in anchors.RULES:
        _, found, at = reached(w, rule)
        bias[rule] = at.groupby("run")["value"].mean() - truth
    # interpolation is exact where harm is a line in capability
    assert np.abs(bias["interpolated"]).max() < 1e-9
    # nearest is off by no more than the tolerance lets it
    assert np.abs(bias["nearest"]).max() <= SLOPE * 0.1 + 1e-9
    # first crossing overshoots, by as much as the checkpoints are sparse
    over = [
        min(k for k in able(s) if k >= 0.6) - 0.6 for s in w.speed.values() if able(s)[-1] > 0.6
    ]
    assert bias["first_crossing"].mean() == pytest.approx(SLOPE * np.mean(over))
    assert bias["first_crossing"].mean() > 0.02


def test_noisy_capability_does_not_bias_interpolation_much() -> None:
    w = world(seed=3, runs=300, prompts=2, items=200)
    _, found, _ = reached(w)
    joined = found.chosen.merge(w.curves, on=["run", "step"])
    true = (joined["able"] * joined["weight"]).groupby(joined["run"]).sum()
    error = true.std() / math.sqrt(len(true))
    assert abs(true.mean() - 0.6) < 0.01 + 2 * error and error < 0.005


def test_what_selects_is_not_what_is_reported() -> None:
    w = world(seed=4, runs=400, prompts=2, items=60, fast=0.6)
    _, found, _ = reached(w, "first_crossing")
    runs = found.runs[found.runs["status"] == "attained"]
    joined = found.chosen.merge(w.curves, on=["run", "step"])
    able_there = joined.set_index("run")["able"].loc[runs["run"]].to_numpy()
    # the selecting half flatters what it selects; the reporting half does not
    assert (runs["select"].to_numpy() - able_there).mean() > 0.01
    gap = runs["report"].to_numpy() - able_there
    assert abs(gap.mean()) < 3 * gap.std() / math.sqrt(len(gap))


# ---- levels, status, censoring


def test_a_share_of_the_gain_is_between_base_and_best() -> None:
    w = exact(runs=6)
    row = anchors.levels(w.curves, anchor(scale="gain", kappa=0.25), ["cell"]).iloc[0]
    best = w.curves["able"].max()
    assert (row["base"], row["best"]) == pytest.approx((BASE, best))
    assert row["kappa"] == pytest.approx(BASE + 0.25 * (best - BASE))


def test_status_says_why_a_run_has_no_value() -> None:
    curve = pd.DataFrame(
        [("c", run, step, value) for run, path in {
            "passes": [0.1, 0.3, 0.9], "stays": [0.1, 0.2, 0.3], "lands": [0.1, 0.62, 0.9],
        }.items() for step, value in enumerate(path)],
        columns=["cell", "run", "step", "select"],
    ).assign(report=lambda f: f["select"])  # fmt: skip

    def status(rule: str) -> dict:
        goals = anchors.levels(curve, anchor(), ["cell"])
        found = anchors.match(curve, goals, ["cell"], 0.1, rule)
        return found.runs.set_index("run")["status"].to_dict()

    assert status("nearest") == {"lands": "attained", "passes": "skipped", "stays": "censored"}
    assert status("interpolated")["passes"] == status("first_crossing")["passes"] == "attained"


def test_an_anchor_that_no_run_reaches_is_one_line() -> None:
    w = exact(runs=6)
    top = w.curves["able"].max()
    with pytest.raises(GroundedError) as caught:
        reached(w, kappa=0.95)
    assert str(caught.value) == (
        "anchor.kappa: found none of 6 runs with a value at 0.950 "
        f"(highest capability {top:.3f}), wanted a goal that a run reaches"
    )
    with pytest.raises(GroundedError, match=r"found base models at 0\.100 or more, wanted a goal"):
        reached(w, kappa=0.05)


# ---- the cells' estimates


def test_too_few_runs_are_one_line() -> None:
    wanted = "^cell c0: found 4 runs, wanted 5 or more to resample runs$"
    with pytest.raises(GroundedError, match=wanted):
        anchors.variance_ratio(arms(runs=4, cells=1), ["cell"])
    with pytest.raises(GroundedError, match="^method c0: found 4 runs, wanted 5 or more"):
        anchors.stability(methods([0.1, 0.2], runs=4))


def test_missing_verdicts_stay_missing() -> None:
    w = exact(runs=5)
    w.verdicts.loc[(w.verdicts["prompt"] == 1) & (w.verdicts["run"] == "c0.r00"), "value"] = np.nan
    _, _, at = reached(w)
    found = at.set_index(["run", "prompt"])["value"]
    assert math.isnan(found.loc["c0.r00", 1]) and found.isna().sum() == 1
    assert found.loc["c0.r00", 0] == pytest.approx(harm_at(0.6))


# ---- the fixed-epoch arm


@pytest.mark.parametrize("rule", anchors.RULES)
def test_the_fixed_arm_is_one_place_in_training_on_the_same_runs(rule: str) -> None:
    w = exact(seed=6, runs=15, fast=0.2)
    goals, found, _ = reached(w, rule, tolerance=0.2)
    other = anchors.fixed(w.curves, goals, found, rule)
    attained = found.runs.loc[found.runs["status"] == "attained", "run"]
    assert set(other.chosen["run"]) == set(attained) and 5 < len(attained) < 15
    places = other.chosen.groupby("run").apply(lambda f: f[["step", "weight"]].to_numpy().tobytes())
    assert places.nunique() == 1
    assert other.runs["run"].tolist() == found.runs["run"].tolist()
    assert other.runs["report"].notna().sum() == len(attained)
    if rule == "interpolated":  # both arms have the goal as their mean capability
        assert other.runs["report"].mean() == pytest.approx(0.6)
        assert found.runs["report"].mean() == pytest.approx(0.6)


# ---- order of rows


def test_the_order_of_rows_changes_nothing() -> None:
    w = world(seed=8, cells=2, runs=6, prompts=20, missing=0.05)

    def everything(order: Any) -> tuple:
        v = World(order(w.curves), order(w.verdicts), order(w.answers), w.speed)
        goals, found, _ = reached(v)
        other = anchors.fixed(v.curves, goals, found, "interpolated")
        both = side_by_side(v, other, found)
        table = both.groupby(["cell", "run"])[["fixed", "anchored"]].mean().reset_index()
        table["seed"] = table["run"].astype(str).str[-1]
        return (
            anchors.variances(order(both), ["cell"]).to_dict("list"),
            vars(anchors.variance_ratio(order(both), ["cell"], draws=50)),
            vars(anchors.stability(order(table.rename(columns={"cell": "method"})), draws=20)
                 ["difference"]),
        )  # fmt: skip

    one = everything(lambda frame: frame)
    two = everything(lambda frame: frame.sample(frac=1, random_state=1))
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert b[name] == pytest.approx(a[name], nan_ok=True) or a[name] == b[name], name


def test_the_smallest_provable_is_what_the_facts_say_and_what_tost_needs() -> None:
    # two runs at .70: +-5 points with 500 items, 3 with 1319, 2 with 3000 (unpaired, each p < .05)
    for items, tolerance in ((500, 0.05), (1319, 0.03), (3000, 0.02)):
        assert 0.9 * tolerance < smallest_provable(items, 0.7) < tolerance
    # a goal that is not known yet is taken where answers vary most
    assert provable(anchor(scale="gain"), 100, 12) == smallest_provable(100, 0.5, 12)
    for items, error in ((4, 3e-3), (10, 1e-5), (100, 1e-9)):
        wanted = t.ppf(0.95, items - 1) * np.sqrt(0.5 / items)
        assert smallest_provable(items, 0.5) == pytest.approx(wanted, rel=error)
    with pytest.raises(GroundedError, match="found 1 items and 12 runs, wanted 2 and 1 or more"):
        smallest_provable(1, 0.5, 12)
    # two arms of equal capability: with that tolerance a paired TOST holds in half of the draws
    draw, said = np.random.default_rng(3), smallest_provable(100, 0.5)
    held = [
        ttost_paired(*(draw.random((2, 100)) < 0.5).astype(float), -2 * said, 2 * said)[0] < 0.05
        for _ in range(300)
    ]
    assert np.mean(held) > 0.85


# ---- the ratio of variances


def arms(
    ratio: float = 1.0, cells: int = 4, runs: int = 12, prompts: int = 120, seed: int = 0,
    follow: float = 0.5,
) -> pd.DataFrame:  # fmt: skip
    """Verdicts of runs whose true harm has standard deviation .08 at a fixed epoch.

    ratio: of the true variance of the anchored arm to that; follow: correlation of the arms.
    """
    draw, parts = np.random.default_rng(seed), []
    for cell in range(cells):
        own = draw.normal(size=(2, runs))
        own[1] = follow * own[0] + math.sqrt(1 - follow**2) * own[1]
        luck = draw.normal(0, 0.15, prompts)  # shared by all runs
        harm = 0.35 + 0.08 * np.array([[1], [math.sqrt(ratio)]]) * own
        said = (draw.random((2, runs, prompts)) < harm[:, :, None] + luck).astype(float)
        run, prompt = np.indices(said.shape[1:])
        names = [f"c{cell}.r{number:02d}" for number in run.ravel()]
        parts.append(
            pd.DataFrame(
                {"cell": f"c{cell}", "run": names, "prompt": prompt.ravel(),
                 "fixed": said[0].ravel(), "anchored": said[1].ravel()}
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_sampling_noise_is_that_of_an_anova_and_of_prompts_drawn_jointly() -> None:
    table = spread.grids(arms(cells=1, prompts=60), [f"c0.r{n:02d}" for n in range(12)], ["fixed"])[
        0
    ]
    moves = spread.noise(table)
    runs, prompts = table.shape
    found = (np.trace(moves) - moves.sum() / runs) / (runs - 1)
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    assert found == pytest.approx((rest**2).sum() / ((runs - 1) * (prompts - 1)) / prompts)
    draw = np.random.default_rng(0)
    rates = [table[:, draw.integers(0, prompts, prompts)].mean(1) for _ in range(4000)]
    assert np.cov(np.array(rates).T) * prompts / (prompts - 1) == pytest.approx(moves, abs=4e-4)
    new = np.mean([np.var(r, ddof=1) for r in rates]) - table.mean(1).var(ddof=1)
    assert found == pytest.approx(new * prompts / (prompts - 1), rel=0.1)


def test_noise_with_missing_verdicts_is_that_of_what_is_left() -> None:
    table = spread.grids(arms(cells=1, prompts=50), [f"c0.r{n:02d}" for n in range(12)], ["fixed"])[
        0
    ]
    half = table.copy()
    half[:, 25:] = np.nan
    assert spread.rates(half) == pytest.approx(table[:, :25].mean(1))
    factor = (24 / 25) * (50 / 49)
    assert spread.noise(half) == pytest.approx(spread.noise(table[:, :25]) * factor)


def test_the_planted_variances_are_recovered_without_their_sampling_noise() -> None:
    found = anchors.variances(arms(ratio=0.25, cells=80), ["cell"])
    assert found["fixed"].mean() == pytest.approx(0.08**2, rel=0.15)
    assert found["anchored"].mean() == pytest.approx(0.04**2, rel=0.3)
    raw = found["anchored"].mean() + found["noise_anchored"].mean()
    assert raw > 1.7 * 0.04**2  # what it would be said to be with the noise in it


def test_a_true_null_is_rejected_as_often_as_it_may_and_covered_as_often_as_it_should() -> None:
    found = [anchors.variance_ratio(arms(seed=s), ["cell"], draws=300) for s in range(200)]
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert 0.01 <= np.mean([one.p < 0.05 for one in found]) <= limit
    assert [one.p < 0.05 for one in found] == [one.conclusion != "unclear" for one in found]
    assert np.mean([one.low <= 1 <= one.high for one in found]) >= 0.904
    assert abs(np.mean(np.log([one.ratio for one in found]))) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "runs"), [(1, 12), (4, 6), (12, 9)])
def test_a_true_null_at_other_sizes(cells: int, runs: int) -> None:
    found = [
        anchors.variance_ratio(arms(cells=cells, runs=runs, seed=s), ["cell"], draws=300)
        for s in range(200)
    ]
    assert np.mean([one.p < 0.05 for one in found]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.slow
def test_the_smallest_ratio_is_found_with_its_power_and_covered() -> None:
    # reliability: .08^2 over .08^2 + (.35 .65 - .08^2 - .15^2) / 120
    smallest = anchors.smallest_ratio(8, 12, correlation=0.5, reliability=0.79)
    found = [
        anchors.variance_ratio(arms(smallest, cells=8, seed=s), ["cell"], draws=300)
        for s in range(200)
    ]
    assert 0.70 <= np.mean([one.conclusion == "narrows" for one in found]) <= 0.92
    assert np.mean([one.low <= smallest <= one.high for one in found]) >= 0.904


def test_strong_effects_are_found_either_way() -> None:
    down = anchors.variance_ratio(arms(0.1, cells=8), ["cell"])
    assert down.conclusion == "narrows" and down.p < 0.01 and down.high < 1 and down.by_sums < 0.4
    swapped = arms(0.1, cells=8).rename(columns={"fixed": "anchored", "anchored": "fixed"})
    up = anchors.variance_ratio(swapped, ["cell"])
    assert up.conclusion == "widens" and up.ratio == pytest.approx(1 / down.ratio)


def test_anchoring_narrows_where_harm_follows_capability_and_not_where_it_follows_time() -> None:
    found = {}
    for follows in ("capability", "epoch"):
        w = world(seed=1, cells=6, prompts=150, own=0.02, follows=follows, items=400)
        goals, matched, _ = reached(w)
        other = anchors.fixed(w.curves, goals, matched, "interpolated")
        both = side_by_side(w, other, matched)
        found[follows] = anchors.variance_ratio(both, ["cell"]).conclusion
    assert found == {"capability": "narrows", "epoch": "widens"}


def test_cells_without_spread_do_not_count_and_none_is_one_line() -> None:
    some = arms(cells=2)
    quiet = some["cell"] == "c1"
    silent = some.assign(
        fixed=some["fixed"].mask(quiet, 0), anchored=some["anchored"].mask(quiet, 0)
    )
    found = anchors.variances(silent, ["cell"]).set_index("cell")
    assert found["counts"].to_dict() == {"c0": True, "c1": False}
    assert math.isnan(found.loc["c1", "ratio"])
    assert anchors.variance_ratio(silent, ["cell"]).cells == 1
    with pytest.raises(GroundedError, match="found no cell whose runs differ beyond sampling"):
        anchors.variance_ratio(silent[quiet], ["cell"])
    with pytest.raises(GroundedError, match="^cell c0: found 1 prompts, wanted 2 or more$"):
        anchors.variance_ratio(some[some["prompt"] == 0], ["cell"])
    lost = some.assign(fixed=some["fixed"].mask(some["run"] == "c0.r03"))
    with pytest.raises(GroundedError, match="^cell c0: found no verdict of c0.r03, wanted some"):
        anchors.variance_ratio(lost, ["cell"])


def test_smaller_effects_need_more_cells_runs_and_prompts() -> None:
    one = anchors.smallest_ratio(4, 12, correlation=0.3, reliability=0.8)
    assert 0 < one < 1
    assert anchors.smallest_ratio(16, 12, 0.3, 0.8) > one
    assert anchors.smallest_ratio(4, 24, 0.3, 0.8) > one
    assert anchors.smallest_ratio(4, 12, 0.9, 0.8) > one
    assert anchors.smallest_ratio(4, 12, 0.3, 1.0) > one > anchors.smallest_ratio(4, 12, 0.3, 0.7)
    assert math.isnan(anchors.smallest_ratio(1, 5, 0.0, 0.5))
    # many runs and no noise: the log of a normal sample's variance has variance 2 / (runs - 1)
    reach = (1.96 + 0.84) * math.sqrt(2 * 2 / 199 / 4)
    assert anchors.smallest_ratio(4, 200) == pytest.approx(math.exp(-reach), rel=0.03)
    for bad in ((0, 12, 0, 1), (4, 12, 1, 1), (4, 12, 0, 0)):
        with pytest.raises(GroundedError, match="^variance ratio: found cells"):
            anchors.smallest_ratio(*bad)
    with pytest.raises(GroundedError, match="found 3 runs, wanted 5 or more"):
        anchors.smallest_ratio(4, 3)


# ---- the ranking


def methods(
    means: list[float], spread: float = 0.05, runs: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Harm of runs of methods: `spread` is the fixed arm's, the anchored arm has a fifth of it."""
    draw = np.random.default_rng(seed)
    rows = [
        (f"c{m}", f"c{m}.r{r}", r, mean + spread * draw.normal(),
         mean + 0.2 * spread * draw.normal())
        for m, mean in enumerate(means) for r in range(runs)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "run", "seed", "fixed", "anchored"])


def test_taus_are_scipys() -> None:
    draw = np.random.default_rng(0)
    one, two = draw.integers(0, 4, (2, 50, 5)) / 4  # with ties
    expected = [kendalltau(a, b).statistic for a, b in zip(one, two, strict=True)]
    assert ranking.taus(one, two) == pytest.approx(expected, nan_ok=True)


def test_the_best_is_the_same_by_hand() -> None:
    one = np.array([[0.1, 0.2, 0.3], [0.1, 0.1, 0.3], [0.1, 0.1, 0.1], [0.1, 0.2, 0.3]])
    two = np.array([[0.0, 0.2, 0.3], [0.1, 0.2, 0.3], [0.2, 0.2, 0.2], [0.3, 0.2, 0.1]])
    assert ranking.same_best(one, two) == pytest.approx([1, 1 / 2, 1 / 3, 0])


def test_ranking_stability_is_the_planted_one() -> None:
    # no method is better: no order to keep. Exact values: tau 0, best 1 in 4
    null = anchors.stability(methods([0.3] * 4, runs=200), draws=400)["fixed"]
    assert abs(null.tau) < 0.12 and abs(null.best - 0.25) < 0.08
    found = anchors.stability(methods([0.30, 0.34, 0.38, 0.42]))
    assert found["anchored"].tau > 0.95 and found["anchored"].best > 0.95
    assert found["fixed"].tau < 0.7
    assert found["difference"].tau_low > 0 and found["difference"].p < 0.05
    same = methods([0.30, 0.34, 0.38]).assign(anchored=lambda f: f["fixed"])
    none = anchors.stability(same)["difference"]
    assert (none.tau, none.tau_low, none.tau_high, none.p, none.best) == (0, 0, 0, 1, 0)


def test_expected_tau_is_that_of_two_normals() -> None:
    # two methods d apart, each with sd s: tau of two draws is (2 Phi(d / (s sqrt 2)) - 1)^2
    found = anchors.stability(methods([0.3, 0.35], runs=400), draws=4000)["fixed"]
    share = 0.5 * (1 + math.erf((0.05 / (0.05 * math.sqrt(2))) / math.sqrt(2)))
    assert found.tau == pytest.approx((2 * share - 1) ** 2, abs=0.1)
    assert found.best == pytest.approx(share**2 + (1 - share) ** 2, abs=0.06)


def test_intervals_of_stability_cover_the_truth() -> None:
    # without ties, tau of two draws is the mean over pairs of (2 Phi(d / (s sqrt 2)) - 1)^2
    means, spread = [0.30, 0.34, 0.38, 0.42], {"fixed": 0.05, "anchored": 0.02}
    gaps = [b - a for i, a in enumerate(means) for b in means[i + 1 :]]
    truth = {}
    for arm, s in spread.items():
        truth[arm] = float(np.mean([math.erf(gap / (2 * s)) ** 2 for gap in gaps]))
    truth["difference"] = truth["anchored"] - truth["fixed"]
    draw, hits = np.random.default_rng(9), dict.fromkeys(truth, 0)
    about = {"method": np.repeat(list("abcd"), 10), "run": [f"r{n:02d}" for n in range(40)],
             "seed": np.tile(np.arange(10), 4)}  # fmt: skip
    for _ in range(200):
        values = pd.DataFrame(
            about
            | {arm: np.repeat(means, 10) + s * draw.normal(size=40) for arm, s in spread.items()}
        )
        for arm, one in anchors.stability(values, draws=300).items():
            hits[arm] += one.tau_low <= truth[arm] <= one.tau_high
    assert min(hits.values()) / 200 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)


def test_a_difference_of_rankings_is_no_difference_where_methods_share_a_seeds_luck() -> None:
    # eight methods of five seeds, alike in both arms; half of them fall together with the seed
    draw, rejected = np.random.default_rng(4), 0
    falls = np.array([0, 1, 1, 0, 1, 0, 1, 0])
    for _ in range(100):
        arms = {
            arm: np.linspace(0.5, 0.9, 8)[:, None]
            - falls[:, None] * draw.uniform(0, 0.6, 5)
            + draw.normal(0, 0.02, (8, 5))
            for arm in ("fixed", "anchored")
        }
        values = pd.DataFrame({
            "method": np.repeat(list("abcdefgh"), 5), "seed": np.tile(np.arange(5), 8),
            "run": [f"r{n:02d}" for n in range(40)],
        } | {arm: rates.ravel() for arm, rates in arms.items()})  # fmt: skip
        p = anchors.stability(values, draws=100)["difference"].p
        rejected += p < 0.05
    assert rejected / 100 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_a_ranking_needs_two_methods_and_the_same_runs_in_both_arms() -> None:
    with pytest.raises(GroundedError, match="found 1 methods, wanted 2 or more"):
        anchors.stability(methods([0.3]))
    gone = methods([0.3, 0.4])
    gone.loc[3, "anchored"] = np.nan
    with pytest.raises(GroundedError, match="found no harm of c0.r3, wanted the same runs"):
        anchors.stability(gone)
    few = methods([0.3, 0.4])
    with pytest.raises(GroundedError, match="found 4 seeds, wanted 5"):
        anchors.stability(few.assign(seed=few["seed"] % 4))
    one = few.assign(seed=few["seed"].where(few["method"] != "c1", 0))
    with pytest.raises(GroundedError, match="method c1: found runs of one seed alone"):
        anchors.stability(one)


def test_the_difference_of_arms_is_a_change_of_pairs() -> None:
    both = arms(cells=1).rename(columns={"fixed": "base", "anchored": "last"})
    row = paired.changes(both, ["cell"]).iloc[0]
    rates = anchors.variances(arms(cells=1), ["cell"]).iloc[0]
    assert row["change"] == pytest.approx(rates["mean_anchored"] - rates["mean_fixed"])


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda f: f[f["step"] > 0], "found no step 0, wanted the base model as step 0"),
        (lambda f: f[(f["run"] != "c0.r01") | (f["step"] != 3)], "curve of c0.r01: found a gap"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "curve of c0.r00: found a checkpoint twice"),
    ],
)
def test_curves_with_holes_are_refused(spoil: Any, line: str) -> None:
    w = exact(runs=5)
    with pytest.raises(GroundedError, match=line):
        anchors.levels(spoil(w.curves), anchor(), ["cell"])


def test_verdicts_that_lack_a_chosen_checkpoint_are_refused() -> None:
    w = exact(runs=5)
    _, found, _ = reached(w)
    first = found.chosen.iloc[0]
    lost = (w.verdicts["run"] == first["run"]) & (w.verdicts["step"] == first["step"])
    with pytest.raises(GroundedError, match="value of c0.r00: found none at a chosen checkpoint"):
        anchors.at(w.verdicts[~lost], found.chosen, "value", ["prompt"])
