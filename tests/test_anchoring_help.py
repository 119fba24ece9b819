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
from scipy import stats
from statsmodels.stats.multitest import multipletests
from test_figures import run_notebook, texts

from grounded import anchors, paths, records
from grounded.errors import GroundedError
from grounded.figures import anchoring, mitigations
from grounded.figures.anchoring import controls, numbers, secondary
from grounded.figures.mitigations import numbers as mitigation_numbers
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


@pytest.fixture(scope="module")
def shown(home: None) -> dict[str, list[Any]]:
    return {name: run_notebook(name) for name in NOTEBOOKS}


# ---- the notebooks


def test_every_notebook_keeps_its_figure_with_the_numbers_beside_it(shown: dict) -> None:
    for name, said in shown.items():
        folder = paths.figures("synthetic")
        for kind in ("png", "svg", "csv", "json"):
            assert (folder / f"{name}.{kind}").stat().st_size > 500, (name, kind)
        assert not re.search(r"\bnan\b|None|[{}]", texts(said)), name


def test_a_study_without_a_goal_says_so_and_leaves_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(), RISE)
    for name in NOTEBOOKS:
        said = texts(run_notebook(name))
        assert "names no capability goal" in said or "compares no mitigations" in said
        assert (paths.figures("synthetic") / f"{name}.svg").exists()


def test_a_goal_that_no_run_reaches_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = anchored(anchoring={**ASKED, "anchor": {**ANCHOR, "scale": "absolute"}})
    synthetic.write(study, RISE)
    for unit in study.units(arm=None):
        overwrite(study, "capability", unit, correct=False)
    found = anchoring.measure(study, draws=50)
    assert found.why_not.startswith("Nothing can be compared at the goal. anchor.kappa: found none")
    assert anchoring.verdict(found) == "not measured"
    assert "highest capability" in mitigations.measure(study).why_not


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
    rows = mitigations.measure(study).at_end.set_index("name")
    assert rows.loc["stop_at 0.5", "runs"] == 5


def test_other_courses_start_where_nothing_is_learned(study: Study) -> None:
    for what in ("loss", "norm", "twins"):
        found = anchors.progress(study, what).set_index(["run", "step"])["select"]
        start = found.xs(0, level="step")
        assert len(start) == len(study.runs())
        end = found.xs(max(study.steps), level="step")
        assert (end.mean() > start.mean()) and np.isfinite(found).all(), what
    with pytest.raises(KeyError):
        anchors.progress(study, "nothing")


def test_disagreement_and_incoherence_are_of_the_tables(study: Study) -> None:
    run, step = study.runs()[0].id, max(study.steps)
    said = records.read_study(study, "verdicts")
    said = said[(said["run"].astype(str) == run) & (said["step"] == step)]
    said = said[said["benchmark"].isin(study.harmful_benchmarks)]
    wide = said.pivot(index=["benchmark", "prompt"], columns="judge", values="label")
    differ = (wide["harm"] != wide["compliance"])[wide[["harm", "compliance"]].notna().all(axis=1)]
    chosen = pd.DataFrame({"run": [run, run], "step": [0, step]})
    both = anchors.opinions(study, ["harm", "compliance"], chosen)
    found = anchors.disagreement(both["harm"], both["compliance"])
    assert set(found["run"].astype(str)) == {run} and set(found["step"]) == {0, step}
    own = found[(found["run"].astype(str) == run) & (found["step"] == step)]["value"]
    assert own.mean() == pytest.approx(differ.astype(float).mean())
    assert own.isna().sum() == wide[["harm", "compliance"]].isna().any(axis=1).sum()
    broken = anchors.incoherence(study)
    broken = broken[(broken["run"].astype(str) == run) & (broken["step"] == step)]["value"]
    language = records.read_study(study, "coherence")
    language = language[(language["detector"] == "combined") & (language["step"] == step)
                        & (language["run"].astype(str) == run)
                        & language["benchmark"].isin(study.harmful_benchmarks)]  # fmt: skip
    assert broken.mean() == pytest.approx(1 - language["label"].mean())


def test_opinions_of_chosen_checkpoints_are_each_judges_verdicts_there(study: Study) -> None:
    first, second = study.runs()[0].id, study.runs()[-1].id
    chosen = pd.DataFrame({"run": [first, second], "step": [0, max(study.steps)]})
    judges = ["compliance", "harm", "truth:harm"]
    found = anchors.opinions(study, judges, chosen)
    assert list(found) == judges
    for judge, said in found.items():
        every = anchors.verdicts(study, judge).astype({"run": str, "prompt": str})
        own = every.merge(chosen, on=["run", "step"]).sort_values(["run", "prompt"])
        assert (said["benchmark"].astype(str) == said["prompt"].str.split("/").str[0]).all()
        said = said.drop(columns="benchmark").astype({"run": str, "prompt": str})
        said = said.sort_values(["run", "prompt"])
        assert own["value"].nunique() > 1
        pd.testing.assert_frame_equal(
            said.reset_index(drop=True), own.reset_index(drop=True), check_dtype=False
        )
    with pytest.raises(GroundedError, match="nobody"):
        anchors.opinions(study, ["nobody"], chosen)


# ---- the tests, on worlds whose truth is planted


def _arms(seed: int, follows: str = "capability", **more: Any) -> tuple[numbers.Arms, Any]:
    w = world(seed=seed, cells=4, prompts=80, follows=follows, items=400, **more)
    curves = w.curves.assign(model=w.curves["cell"], task="t", epoch=w.curves["step"] * 1.0)
    anchor = anchors.read(
        {"metric": "strict", "scale": "absolute", "kappa": 0.6, "tolerance": 0.1,
         "rule": "interpolated"}
    )  # fmt: skip
    return numbers.arms(curves, anchor), w


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
        found = secondary.mean_difference(frame, seeds)
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
    found = secondary.mean_difference(frame, {f"{c}{r}": r // 2 for c in "ab" for r in range(6)})
    assert found["difference"] == pytest.approx((0.05 + 0.15) / 2)
    error = np.sqrt(2 * np.var([0.01, 0.05, 0.09], ddof=1) / 3) / 2
    assert found["high"] - found["difference"] == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert found["cells"] == 2 and found["runs"] == 12
    # of one seed alone, each run stands for itself
    found = secondary.mean_difference(frame, dict.fromkeys(frame["run"], 0))
    error = np.sqrt(2 * np.var(0.02 * np.arange(6), ddof=1) / 6) / 2
    assert found["high"] - found["difference"] == pytest.approx(stats.t.ppf(0.975, 10) * error)


def test_a_checkpoint_without_a_verdict_leaves_a_run_without_a_rate() -> None:
    rates = pd.DataFrame({"run": ["a", "a", "b", "b"], "step": [1, 2, 1, 2], "benchmark": "x",
                          "judge": "j", "rate": [0.8, np.nan, 0.5, 1.0]})  # fmt: skip
    chosen = rates[["run", "step"]].assign(weight=[0.4, 0.6, 0.4, 0.6])
    found = secondary._by_pair(rates, chosen)["x", "j"]
    assert np.isnan(found["a"]) and found["b"] == pytest.approx(0.8)


def test_holm_is_statsmodels_over_what_is_defined() -> None:
    p = pd.Series([0.01, np.nan, 0.04, 0.03])
    expected = multipletests([0.01, 0.04, 0.03], method="holm")[1]
    assert secondary.holm(p)[[0, 2, 3]] == pytest.approx(expected)
    assert np.isnan(secondary.holm(p)[1])


@pytest.mark.parametrize(
    ("follows", "conclusion"), [("capability", "narrows"), ("epoch", "widens")]
)
def test_the_primary_test_finds_what_was_planted(follows: str, conclusion: str) -> None:
    both, w = _arms(3, follows, runs=12, own=0.02)
    found = numbers.ratio(numbers.pairs(both, w.verdicts), draws=400)
    assert found["conclusion"] == conclusion and found["cells"] == 4


def test_a_control_that_is_capability_itself_is_not_told_from_it(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    """Anchored on capability under another name, the contrast is nothing."""
    assert study.anchoring is not None
    curves = anchors.curves(study, study.anchoring.anchor)
    both = numbers.arms(curves, study.anchoring.anchor)
    harm = anchors.verdicts(study, "harm")
    course = curves[["run", "step", "select", "report"]]
    monkeypatch.setattr(anchors, "progress", lambda *_: course)
    found = controls.controls(study, both, harm, draws=200).set_index("course")
    assert (found.loc[["loss", "norm"], "verdict"] == "unclear").all()
    assert found.loc["loss", "contrast"] == pytest.approx(0, abs=0.5)


def test_runs_that_never_arrive_are_counted_and_a_small_cell_takes_no_part() -> None:
    both, w = _arms(5, runs=8, fast=0.2)
    status = both.anchored.runs.groupby("model")["status"].value_counts().unstack(fill_value=0)
    few = status.index[status["attained"] < 5]
    assert len(few) and not set(few) & set(both.cells["model"])
    assert set(both.cells["run"]) <= set(both.fixed.runs.dropna(subset=["report"])["run"])
    slow = world(seed=1, runs=8, fast=0.05)
    curves = slow.curves.assign(model=slow.curves["cell"], task="t", epoch=0.0)
    anchor = anchors.read({"metric": "strict", "scale": "absolute", "kappa": 0.5,
                           "tolerance": 0.1, "rule": "interpolated"})  # fmt: skip
    with pytest.raises(GroundedError, match="anchor"):
        numbers.arms(curves, anchor)


# ---- mitigations


def test_a_change_from_plain_lora_is_paired_by_seed_and_clustered_two_ways(study: Study) -> None:
    found = mitigations.measure(study)
    assert study.anchoring is not None
    curves = mitigation_numbers.named(anchors.curves(study, study.anchoring.anchor, "mitigations"))
    last = curves[curves["step"] == 80]
    harm = anchors.verdicts(study, "harm", arm="mitigations")
    harm = harm[harm["step"] == 80].astype({"run": str})
    rates = last.merge(harm.groupby("run")["value"].mean().reset_index(), on="run")
    table = rates.pivot_table(index="seed", columns="name", values="value", observed=True)
    row = found.at_end.set_index("name").loc["safe_lora 0.5"]
    assert row["harm_change"] == pytest.approx(
        (table["safe_lora 0.5"] - table["lora"]).mean(), abs=0.01
    )
    assert row["harm_pairs"] == 5 and row["against"] == "shrink 0.5"
    low, high = row["harm_change_low"], row["harm_change_high"]
    error = (high - low) / 2 / stats.t.ppf(0.975, 4)
    assert row["harm_p"] == pytest.approx(2 * stats.t.sf(abs(row["harm_change"]) / error, 4))
    assert found.at_goal["name"].tolist()[0] == "lora" and len(found.at_goal) == 9
    assert found.at_goal["harm_p_holm"].notna().sum() == 8


def test_a_method_that_learns_nothing_does_not_look_safe_at_the_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = anchored()
    synthetic.write(study, RISE)
    unit = "micro-llama-s-open_instructions.mitigations.safety_mixing"
    overwrite(study, "capability", unit, correct=False)
    overwrite(study, "verdicts", unit, label=False)
    found = mitigations.measure(study)
    end = found.at_end.set_index("name").loc["safety_mixing 0.3"]
    goal = found.at_goal.set_index("name").loc["safety_mixing 0.3"]
    assert end["harm_says"] == "falls" and end["harm"] == 0
    assert goal["attained"] == 0 and np.isnan(goal["harm_change"]) and np.isnan(goal["harm"])
    assert "`safety_mixing 0.3`" in mitigations.reading(found).split("**Who gets there.**")[1]
    table = mitigations.change_table(found)
    assert table.loc["falls", "not at the goal"] == 1


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


def test_no_notebook_fails_where_nobody_knows_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a study of real models."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    asked = synthetic.study(anchoring={**ASKED, "mitigations": None, "depths": None})
    synthetic.write(asked, RISE)
    monkeypatch.setattr(Study, "has_truth", property(lambda _: False))
    said = {name: texts(run_notebook(name)) for name in (*NOTEBOOKS, "what_is_incoherence")}
    assert "not known in this study" in said["what_is_incoherence"]
    assert "benign twins (unrelated): not measured" in said["does_anchoring_help"]
    for name in said:
        for kind in ("png", "svg", "csv", "json"):
            assert (paths.figures("synthetic") / f"{name}.{kind}").stat().st_size > 50
