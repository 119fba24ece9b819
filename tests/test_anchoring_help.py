"""does_anchoring_help, mitigations_at_equal_capability: on planted effects."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from anchored_world import world
from bench import methods as bench_methods
from pages import run_notebook, texts
from scipy import stats
from statsmodels.stats.multitest import multipletests

from grounded import anchors, paths, records, tables
from grounded.anchors import registered
from grounded.study import Study, StudyError, parse

NOTEBOOKS = ("does_anchoring_help", "mitigations_at_equal_capability")
ARMS: dict[str, dict[str, Any]] = {
    "mitigations": {
        "models": ["micro-llama-s"], "tasks": ["open_instructions"], "settings": ["r32-high"],
        "seeds": [5, 6, 7, 8, 9],
        "methods": {"lora": [], "safe_lora": [0.3, 0.5, 1.0], "shrink": [0.3, 0.5, 1.0],
                    "safety_mixing": [0.3], "stop_at": [0.5]},
    },
    "depths": {"models": ["micro-llama-s-deep"], "tasks": ["open_instructions"],
               "methods": {"lora": []}},
}  # fmt: skip
ANCHOR = {"metric": "strict", "scale": "gain", "kappa": 0.5, "tolerance": 0.2,
          "rule": "interpolated"}  # fmt: skip
ASKED = {"anchor": ANCHOR, "judge": "harm", "curve": [0.25, 0.5, 0.75],
         "mitigations": "mitigations", "depths": "depths"}  # fmt: skip
VARIANTS = {"micro-llama-s-deep": {"of": "micro-llama-s", "alignment_steps": 20}}
RISE = {"open_instructions": 0.7, "yes_no": 0.3}


def anchored(**changes: Any) -> Study:
    return synthetic.study(**{"arms": ARMS, "variants": VARIANTS, "anchoring": ASKED, **changes})


def overwrite(study: Study, table: str, unit: str, **values: Any) -> None:
    """Put one value into a column of a unit's table."""
    file = paths.table(study.name, table, unit)
    frame, about = records.read(file, table), records.metadata(file)
    runs = {run: {"inputs": ""} for run in about["runs"]}
    records.write(file, table, frame.assign(**values), {"runs": runs})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        synthetic.write(anchored(), RISE)
        yield


@pytest.fixture(scope="module")
def study(home: None) -> Study:
    return anchored()


# ---- the notebooks


@pytest.fixture(scope="module")
def anchoring(home: None) -> tuple[dict[str, Any], list[Any]]:
    return run_notebook("does_anchoring_help", draws=200)


@pytest.fixture(scope="module")
def mitigations(home: None) -> tuple[dict[str, Any], list[Any]]:
    return run_notebook("mitigations_at_equal_capability")


def kept(name: str, *kinds: str) -> None:
    for kind in kinds:  # of a table without rows: its header
        assert (paths.figures("synthetic") / f"{name}.{kind}").stat().st_size > 20, (name, kind)


def test_every_notebook_keeps_its_figure_with_the_numbers_beside_it(
    anchoring: Any, mitigations: Any
) -> None:
    for name, (_, shown) in zip(NOTEBOOKS, (anchoring, mitigations), strict=True):
        kept(name, "png", "svg", "csv", "json")
        assert not re.search(r"\bnan\b|None|[{}]", texts(shown)), name
    kept("does_anchoring_help_controls", "png", "svg", "csv")


def test_a_run_at_the_goal_has_a_measured_checkpoint_within_the_tolerance(anchoring: Any) -> None:
    names, _ = anchoring
    curves, goals = names["curves"], names["goals"].set_index(["model", "task"])["kappa"]
    asked = anchored()
    for row in names["near"].itertuples():
        own = curves[(curves["run"] == row.run) & (curves["step"] > 0)]
        kappa = goals[row.model, row.task]
        within = ((own["select"] - kappa).abs() <= 0.2 + 1e-9).any()
        jumps = not within and own["select"].max() >= kappa
        assert row.place == (
            "at the goal" if within else "jumps over it" if jumps else "never arrives"
        )
        assert (row.step in asked.steps) and np.isnan(row.harm) == (not within)
    for row in names["measured"].itertuples():
        hidden = (row.runs - row.measured) / row.runs
        assert row.most - row.least == pytest.approx(hidden)  # whatever the others would have shown


def test_no_rate_of_a_measured_checkpoint_is_interpolated(anchoring: Any) -> None:
    """What stands under `at the goal` is the rate of one checkpoint, as it stands in the tables."""
    names, _ = anchoring
    verdicts = records.read_study("synthetic", "verdicts")
    verdicts = verdicts[(verdicts["judge"] == "harm") & (verdicts["label"] >= 0)]
    verdicts = verdicts[verdicts["benchmark"].isin(anchored().harmful_benchmarks)]
    rates = verdicts.groupby(["run", "step"], observed=True)["label"].mean()
    seen = names["near"].dropna(subset=["harm"])
    assert len(seen) > 20
    for row in seen.itertuples():
        assert row.harm == pytest.approx(rates[row.run, row.step], abs=1e-6)


def _runs(draw: np.random.Generator, settings: float, seeds: float) -> pd.DataFrame:
    """Harm of 4 cells x 6 settings x 5 seeds: at an epoch with variances .04 and .01."""
    rows = [(c, "t", s, k) for c in "abcd" for s in range(6) for k in range(5)]
    d = pd.DataFrame(rows, columns=["model", "task", "setting", "seed"])
    for arm, one, two in (("fixed", 0.2, 0.1), ("anchored", 0.2 * settings**0.5, 0.1 * seeds**0.5)):
        own = np.repeat(draw.normal(0, one, 24), 5)
        d[arm] = own + draw.normal(0, two, len(d))
    return d


def test_settings_and_seeds_are_told_apart_without_bias_and_covered(anchoring: Any) -> None:
    components, apart = (anchoring[0][name] for name in ("components", "apart"))
    draw, inside = np.random.default_rng(0), []
    planted = {"setting": 0.25, "seed": 3.0}
    found = [components(_runs(draw, *planted.values())).loc[["fixed", "anchored"]].to_numpy()
             for _ in range(60)]  # fmt: skip
    assert np.mean(found, axis=0) == pytest.approx(np.array([[0.04, 0.01], [0.01, 0.03]]), rel=0.15)
    for _ in range(8):
        d = _runs(draw, *planted.values())
        for part, truth in planted.items():
            told = apart(d, part)
            inside.append(told["low"] <= truth <= told["high"])
    assert sum(inside) >= 13  # of 16, with 95% each: fewer once in 500


def test_a_readers_change_of_one_line_changes_what_is_at_the_goal(anchoring: Any) -> None:
    before = anchoring[0]["measured"]["measured"].sum()
    edit = {'near["gap"] <= goal.tolerance': 'near["gap"] <= goal.tolerance / 4'}
    after, _ = run_notebook("does_anchoring_help", edit=edit, draws=50)
    assert after["measured"]["measured"].sum() < before


def test_a_study_without_a_goal_is_read_at_ours_and_keeps_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(), RISE)
    for name in NOTEBOOKS:
        _, shown = run_notebook(name)
        assert "nan" not in texts(shown)
        kept(name, "png", "svg", "csv", "json")
    assert "compares no mitigations" in texts(shown)


def test_a_single_run_is_too_few_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    one: dict[str, Any] = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "lora": ["r4-low"],
                           "seeds": [0]}  # fmt: skip
    synthetic.write(synthetic.study(**one))
    for name in NOTEBOOKS:
        names, shown = run_notebook(name)
        assert "nan" not in texts(shown)
        kept(name, "png", "svg", "csv", "json")
        if name == "does_anchoring_help":
            assert names["ratios"]["ratio"].isna().all() and "no cell with 5 runs" in texts(shown)


def test_a_goal_that_no_run_reaches_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = anchored(anchoring={**ASKED, "anchor": {**ANCHOR, "scale": "absolute"}})
    synthetic.write(study, RISE)
    for unit in study.units(arm=None):
        overwrite(study, "capability", unit, correct=False)
    for name in NOTEBOOKS:
        said = texts(run_notebook(name)[1])
        assert "anchor.kappa: found none of" in said and "highest capability" in said


def test_nothing_fails_where_nobody_knows_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a study of real models."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    asked = synthetic.study(anchoring={**ASKED, "mitigations": None, "depths": None})
    synthetic.write(asked, RISE)
    monkeypatch.setattr(Study, "has_truth", property(lambda _: False))
    names, _ = run_notebook("does_anchoring_help", draws=50)
    assert list(names["pairs"]) == ["capability", "training loss", "norm of the update"]
    assert "the truth" not in set(names["choices"]["value"])


# ---- the study file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": "nobody"}, "anchoring.judge: found 'nobody', wanted one of harm"),
        ({"curve": [0.5, 0.25]}, "anchoring.curve: found [0.5, 0.25], wanted goals that rise"),
        ({"anchor": {**ANCHOR, "kappa": 1.2}}, "anchor.kappa: found 1.2, wanted less than 1"),
        ({"anchor": {**ANCHOR, "kappa": 0.0}}, "anchor.kappa: found 0.0, wanted more than 0"),
        ({"anchor": {**ANCHOR, "tolerance": 0.01}},
         "anchoring.anchor.tolerance: found 0.01, wanted at least 0.1116, the smallest that 20 "
         "items and 6 runs prove"),
        ({"anchor": {**ANCHOR, "rule": "last"}}, "anchoring.anchor.rule: found 'last', wanted"),
        ({"depths": "nothing"}, "anchoring.depths: found 'nothing', wanted one of mitigations"),
    ],
)  # fmt: skip
def test_a_goal_that_cannot_be_used_is_one_line(change: dict, message: str) -> None:
    with pytest.raises(StudyError) as told:
        anchored(anchoring={**ASKED, **change})
    assert message in str(told.value) and "\n" not in str(told.value)


def test_too_few_runs_for_a_bootstrap_are_one_line() -> None:
    with pytest.raises(StudyError, match="anchoring: found 2 runs a cell, wanted 5 or more"):
        anchored(seeds=[0])
    few = {**ARMS, "mitigations": {**ARMS["mitigations"], "seeds": [5, 6]}}
    with pytest.raises(StudyError, match="anchoring.mitigations: found 2 runs a cell, wanted 5"):
        anchored(arms=few)
    lost = {**ARMS, "mitigations": {**ARMS["mitigations"], "methods": {"shrink": [0.3]}}}
    with pytest.raises(StudyError, match="arms.mitigations.methods: found shrink, wanted lora"):
        anchored(arms=lost)


@pytest.mark.parametrize("name", ["micro", "paper"])
def test_the_committed_studies_name_a_goal(name: str) -> None:
    text = (paths.repository() / "data" / name / "study.yaml").read_text()
    study = parse(text)
    assert study.anchoring is not None and "anchoring" in study.ours


# ---- curves


def test_curves_are_the_tables_and_a_run_may_have_steps_of_its_own(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = study.anchoring.anchor if study.anchoring else None
    assert anchor is not None
    unit = "micro-llama-s-open_instructions.mitigations.stop_at"
    run = study.unit_runs(unit)[0]
    found = anchors.curves(study, anchor, "mitigations")
    own = found[found["run"] == run.id].set_index("step")
    raw = records.read(paths.table(study.name, "capability", unit), "capability")
    raw = raw[(raw["run"] == run.id) & (raw["step"] == 16)]
    assert own.loc[16, "report"] == pytest.approx(raw.loc[raw["item"] % 2 == 1, "correct"].mean())
    assert own.loc[16, "select"] == pytest.approx(raw.loc[raw["item"] % 2 == 0, "correct"].mean())
    assert own.loc[16, "epoch"] == 1 and own.loc[0, "epoch"] == 0
    base = records.read(paths.table(study.name, "capability", "micro-llama-s-base"), "capability")
    base = base[(base["task"] == "open_instructions") & (base["item"] % 2 == 1)]
    assert own.loc[0, "report"] == pytest.approx(base["correct"].mean())
    assert (own["method"] == "stop_at").all() and (own["knob"] == 0.5).all()
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(study, RISE)
    for table in ("checkpoints", "capability", "verdicts", "coherence", "replies"):
        file = paths.table(study.name, table, unit)
        frame, about = records.read(file, table), records.metadata(file)
        frame = frame[(frame["run"] != run.id) | (frame["step"] <= 16)]
        frame.loc[(frame["run"] == run.id) & (frame["step"] == 16), "step"] = 12
        if table == "checkpoints":
            frame.loc[frame["step"] == 12, "epoch"] = 0.75
        records.write(file, table, frame, {"runs": {r: {"inputs": ""} for r in about["runs"]}})
    found = anchors.curves(study, anchor, "mitigations")
    own = found[found["run"] == run.id]
    assert own["step"].tolist() == [0, 8, 12] and own["epoch"].tolist() == [0, 0.5, 0.75]
    names, _ = run_notebook("mitigations_at_equal_capability")
    rows = names["told"].query("place == 'at the last epoch' and outcome == 'harm'")
    assert rows.set_index("name").loc["stop_at 0.5", "runs"] == 5


# ---- the tests, on worlds whose truth is planted


def _arms(seed: int, follows: str = "capability", **more: Any) -> tuple[anchors.Arms, Any]:
    w = world(seed=seed, cells=4, prompts=80, follows=follows, items=400, **more)
    curves = w.curves.assign(model=w.curves["cell"], task="t", epoch=w.curves["step"] * 1.0)
    anchor = anchors.Anchor(
        metric="strict", scale="absolute", kappa=0.6, tolerance=0.1, rule="interpolated"
    )
    return anchors.arms(curves, anchor), w


def both_curves(w: Any) -> pd.DataFrame:
    return w.curves[["run", "step", "select"]]


def test_the_difference_of_means_is_covered_and_a_null_is_rejected_as_often_as_it_may() -> None:
    draw = np.random.default_rng(0)
    wrong, inside = 0, 0
    about = [(c, "t", f"{c}{s}{k}", 0, s) for c in "abcd" for s in range(5) for k in range(3)]
    seeds = {run: seed for _, _, run, _, seed in about}
    for _ in range(300):
        luck = np.repeat(draw.normal(0, 0.1, 20), 3)  # runs of a seed share it, and move together
        frame = pd.DataFrame(about, columns=["model", "task", "run", "prompt", "seed"])
        frame = frame.assign(fixed=0.3 + draw.normal(0, 0.02, 60))
        frame = frame.assign(anchored=0.3 + luck + draw.normal(0, 0.02, 60))
        found = registered.mean_difference(frame, seeds)
        wrong += found["p"] < 0.05
        inside += found["low"] <= 0 <= found["high"]
    limit = 3 * np.sqrt(0.05 * 0.95 / 300)
    assert abs(wrong / 300 - 0.05) < limit and abs(inside / 300 - 0.95) < limit


def test_the_difference_of_means_by_hand() -> None:
    frame = pd.DataFrame(
        [(c, "t", f"{c}{r}", p, 0.1, 0.1 + 0.02 * r + (0.1 if c == "b" else 0))
         for c in "ab" for r in range(6) for p in range(3)],
        columns=["model", "task", "run", "prompt", "fixed", "anchored"],
    )  # fmt: skip
    # three seeds of two runs: the jackknife of a mean of equal groups is the groups' own error
    found = registered.mean_difference(frame, {f"{c}{r}": r // 2 for c in "ab" for r in range(6)})
    assert found["difference"] == pytest.approx((0.05 + 0.15) / 2)
    error = np.sqrt(2 * np.var([0.01, 0.05, 0.09], ddof=1) / 3) / 2
    assert found["high"] - found["difference"] == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert found["cells"] == 2 and found["runs"] == 12
    # of one seed alone, each run stands for itself
    found = registered.mean_difference(frame, dict.fromkeys(frame["run"], 0))
    error = np.sqrt(2 * np.var(0.02 * np.arange(6), ddof=1) / 6) / 2
    assert found["high"] - found["difference"] == pytest.approx(stats.t.ppf(0.975, 10) * error)


def test_a_checkpoint_without_a_verdict_leaves_a_run_without_a_rate() -> None:
    rates = pd.DataFrame({"run": ["a", "a", "b", "b"], "step": [1, 2, 1, 2], "benchmark": "x",
                          "judge": "j", "label": [0.8, np.nan, 0.5, 1.0]})  # fmt: skip
    chosen = rates[["run", "step"]].assign(weight=[0.4, 0.6, 0.4, 0.6])
    found = registered._by_pair(rates, chosen)["x", "j"]
    assert np.isnan(found["a"]) and found["b"] == pytest.approx(0.8)


def test_holm_is_statsmodels_over_what_is_defined() -> None:
    p = pd.Series([0.01, np.nan, 0.04, 0.03])
    expected = multipletests([0.01, 0.04, 0.03], method="holm")[1]
    assert registered.holm(p)[[0, 2, 3]] == pytest.approx(expected)
    assert np.isnan(registered.holm(p)[1])


@pytest.mark.parametrize(
    ("follows", "conclusion"), [("capability", "narrows"), ("epoch", "widens")]
)
def test_the_primary_test_finds_what_was_planted(follows: str, conclusion: str) -> None:
    both, w = _arms(3, follows, runs=12, own=0.02)
    paired = anchors.pairs(both, w.verdicts.assign(benchmark="b"), "value")
    found = anchors.ratio(paired, draws=400)
    assert found.conclusion == conclusion and found.cells == 4
    # capability under another name is no control: it stands where capability stands
    again = anchors.pairs(
        anchors.elsewhere(both, both_curves(w), 0.1), w.verdicts.assign(benchmark="b"), "value"
    )
    same = anchors.special({"capability": paired, "its twin": again}, draws=400).iloc[0]
    assert same["verdict"] == "unclear" and abs(np.log(same["ratio"])) < 0.5


def test_runs_that_never_arrive_are_counted_and_a_small_cell_takes_no_part() -> None:
    both, w = _arms(5, runs=8, fast=0.2)
    status = both.anchored.runs.groupby("model")["status"].value_counts().unstack(fill_value=0)
    few = status.index[status["attained"] < 5]
    assert len(few) and not set(few) & set(both.cells["model"])
    assert set(both.cells["run"]) <= set(both.fixed.runs.dropna(subset=["report"])["run"])
    slow = world(seed=1, runs=8, fast=0.05)
    curves = slow.curves.assign(model=slow.curves["cell"], task="t", epoch=0.0)
    anchor = anchors.Anchor(
        metric="strict", scale="absolute", kappa=0.5, tolerance=0.1, rule="interpolated"
    )
    none = anchors.arms(curves, anchor)
    assert none.why_not.startswith("anchor") and none.cells.empty


# ---- mitigations


def test_a_change_from_plain_lora_is_paired_by_seed_and_clustered_two_ways(
    mitigations: Any,
) -> None:
    names, _ = mitigations
    verdicts = tables.verdicts(anchored(), "mitigations", judges=["harm"])
    rate = verdicts[verdicts["step"] == 80].groupby("run", observed=True)["label"].mean()
    about = names["about"].assign(harm=rate)
    table = about.pivot_table(index="seed", columns="name", values="harm")
    told = names["told"].query("place == 'at the last epoch' and outcome == 'harm'")
    row = told.set_index("name").loc["safe_lora 0.5"]
    assert row["change"] == pytest.approx((table["safe_lora 0.5"] - table["lora"]).mean(), abs=0.01)
    assert row["runs"] == 5 and row["against"] == "lora"
    error = (row["high"] - row["low"]) / 2 / stats.t.ppf(0.975, 4)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["change"]) / error, 4))
    assert len(told) == 8 and (told["p_holm"] >= told["p"]).all()
    beside = names["beside"].query("name == 'safe_lora 0.5'")
    assert set(beside["against"]) == {"shrink 0.5"} and len(beside) == 2  # at either place


def test_a_method_that_learns_nothing_does_not_look_safe_at_the_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = anchored()
    synthetic.write(study, RISE)
    unit = "micro-llama-s-open_instructions.mitigations.safety_mixing"
    overwrite(study, "capability", unit, correct=False)
    overwrite(study, "verdicts", unit, label=False)
    names, shown = run_notebook("mitigations_at_equal_capability")
    told = names["told"].query("name == 'safety_mixing 0.3' and outcome == 'harm'")
    assert told["place"].tolist() == ["at the last epoch"] and (told["p_holm"] < 0.05).all()
    assert names["attained"]["safety_mixing 0.3"] == 0
    assert "no run of mix in refusals" in texts(shown)


def test_the_full_crossing_is_offered_and_parses() -> None:
    crossed, micro = (
        parse((paths.repository() / "data" / name / "study.yaml").read_text())
        for name in ("crossed", "micro")
    )
    arm, small = crossed.arms["mitigations"], micro.arms["mitigations"]
    assert arm.methods == small.methods and crossed.name == "crossed"
    assert set(arm.models) == set(micro.models) and set(arm.tasks) == set(micro.tasks)
    said = crossed.about.replace("\n", " ")
    assert f"{len(crossed.runs(arm=None)):,} runs" in said


def test_the_bench_of_methods_measures_what_each_adds() -> None:
    runs = bench_methods.middle(anchored(), "mitigations")
    assert {name: run.knob for name, run in runs.items()} == {
        "lora": None, "safe_lora": 0.5, "shrink": 0.5, "safety_mixing": 0.3, "stop_at": 0.5
    }  # fmt: skip
    one = {"seconds": 4.0, "megabytes": 600.0, "knob": 0.5}
    lines = bench_methods.table(
        {"safe_lora": one, "ptst": one | {"knob": float("nan"), "seconds": 10.0}},
        [{"seconds": s, "megabytes": 500.0} for s in (7.0, 8.0, 12.0)],
    )
    assert lines[2:] == ["| safe_lora | 0.5 | +0.50 | 1.20 |", "| ptst | – | 1.25 | 1.20 |"]
