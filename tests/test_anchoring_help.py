"""does_anchoring_help, mitigations_at_equal_capability: on planted effects."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from bench import methods as bench_methods
from pages import run_notebook, texts
from scipy import stats
from statsmodels.stats.multitest import multipletests

from grounded import at_goal, paths, records, tables
from grounded.errors import GroundedError
from grounded.statistics.spread import log_ratio
from grounded.study import Study, StudyError, parse

ARMS: dict[str, dict[str, Any]] = {
    "mitigations": {
        "models": ["micro-llama-s"], "tasks": ["open_instructions"], "settings": ["r32-high"],
        "seeds": [5, 6, 7, 8, 9, 10],
        "methods": {"lora": [], "safe_lora": [0.5], "shrink": [0.5], "safety_mixing": [0.3],
                    "stop_at": [0.5]},
    },
}  # fmt: skip
LORA = {
    f"r{rank}-{name}": {"rank": rank, "alpha": 2 * rank, "learning_rate": rate}
    for rank in (4, 32) for name, rate in (("low", 5e-4), ("high", 2e-3))
}  # fmt: skip
ASKED = {"metric": "format_free", "kappa": 0.5, "tolerance": 0.1, "every": 4, "goals": "goals.csv",
         "judge": "harm", "mitigations": "mitigations"}  # fmt: skip
RISE = {"open_instructions": 0.7, "yes_no": 0.5}


def anchored(**changes: Any) -> Study:
    return synthetic.study(**{
        "arms": ARMS, "lora": LORA, "anchoring": ASKED, "test_items": 80, **changes
    })  # fmt: skip


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
def anchoring(home: None) -> tuple[dict[str, Any], list[Any]]:
    return run_notebook("does_anchoring_help", worlds=50)


def kept(name: str, *kinds: str) -> None:
    for kind in kinds:  # of a table without rows: its header
        assert (paths.figures("synthetic") / f"{name}.{kind}").stat().st_size > 20, (name, kind)


def clean(shown: list[Any]) -> str:
    said = texts(shown)
    assert not re.search(r"\bnan\b|None|[{}]", said)
    return said


# ---- does_anchoring_help


def test_the_design_stands_before_any_code() -> None:
    cells = json.loads(paths.notebook("does_anchoring_help").read_text())["cells"]
    first = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "code")
    said = " ".join("".join(cell["source"]) for cell in cells[:first])
    for part in ("Registered before the runs", "smallest effect of interest", "undecided",
                 "does not mean that anchoring does not help", "Corrections since"):  # fmt: skip
        assert part in " ".join(said.split()), part
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert '"Undecided" is not "does not help"' in prose


def test_it_keeps_its_figures_with_the_numbers_beside_them(anchoring: Any) -> None:
    clean(anchoring[1])
    kept("does_anchoring_help", "png", "svg", "csv", "json")
    kept("does_anchoring_help_runs", "png", "svg", "csv")


def test_no_anchored_value_is_interpolated(anchoring: Any) -> None:
    """What stands at a goal is the share of one measured checkpoint, as it is in the tables."""
    names, _ = anchoring
    replies = records.read_study("synthetic", "replies")
    replies = replies[replies["benchmark"].isin(anchored().harmful_benchmarks)]
    measured = replies.groupby(["run", "step"], observed=True)["truth_harm"].mean()
    steps = names["places"].set_index("run")
    seen = names["read"].set_index("run")
    values = 0
    for stand in at_goal.STANDS:
        for run, value in seen[stand].dropna().items():
            assert value == measured[run, steps.loc[run, stand]]
            values += 1
    assert values > 150
    shown = names["shown"]
    at = {"all at one epoch": "fixed", "each at its goal": "capability"}
    for row in shown.itertuples():
        assert row.harm == measured[row.run, steps.loc[row.run, at[row.read]]]


def test_who_is_not_at_the_goal_is_counted_and_bounds_the_mean(anchoring: Any) -> None:
    names, _ = anchoring
    counts = records.read_study("synthetic", "progress")
    able = (counts["format_free"] / counts["items"]).set_axis(counts["run"].astype(str))
    for row in names["places"].itertuples():
        near = (able[row.run] - row.goal).abs() <= 0.1 + 1e-9
        over = able[row.run].max() > row.goal
        assert row.place == (at_goal.AT if near.any() else at_goal.OVER if over else at_goal.NEVER)
        assert pd.isna(row.capability) == (not near.any())
    cells = names["cells"]
    assert (cells["at_goal"] + cells["jump"] + cells["never"] == cells["runs"]).all()
    hidden = (cells["runs"] - cells["at_goal"]) / cells["runs"]
    assert (cells["all_harm"] - cells["no_harm"]).tolist() == pytest.approx(hidden.tolist())
    assert (cells["no_harm"] <= cells["harm"] + 1e-12).all()


def test_a_cell_is_informative_by_what_does_not_look_at_the_readings(anchoring: Any) -> None:
    names, _ = anchoring
    cells, pooled = names["cells"], names["by_cell"].groupby(["model", "task"]).mean()
    for cell, row in cells.iterrows():
        assert row["pooled"] == pytest.approx(pooled[cell])
        assert row["informative"] == (0.05 <= pooled[cell] <= 0.9 and row["at_goal"] >= 8.4)
    assert set(names["good"]["run"]) <= set(names["read"].dropna(subset=["capability"])["run"])


def test_the_words_are_those_that_were_registered(anchoring: Any) -> None:
    words = anchoring[0]["words"]
    small = -np.log(0.7)

    def said(value: float, low: float, high: float, p: float) -> str:
        row = pd.DataFrame([{"value": value, "low": low, "high": high, "p": p}])
        return words(row, small, "steadies", "unsteadies")["word"].item()

    assert said(-0.6, -0.9, -0.3, 0.01) == "steadies"
    assert said(0.6, 0.3, 0.9, 0.01) == "unsteadies"
    assert said(-0.2, -0.3, -0.1, 0.01) == "no effect that matters"  # clear, and too small
    assert said(0.0, -0.3, 0.3, 1.0) == "no effect that matters"
    assert said(-0.6, -1.3, 0.1, 0.08) == "undecided"
    two = pd.DataFrame([{"value": -0.6, "low": -1.19, "high": -0.01, "p": 0.045}] * 2)
    assert set(words(two, small, "steadies", "unsteadies")["word"]) == {"undecided"}  # p_holm .09
    assert said(-np.inf, np.nan, np.nan, 0.01) == "steadies"
    assert said(np.nan, -np.inf, np.inf, 0.01) == "undecided"  # no ratio, so no side


def test_cells_whose_runs_are_all_alike_have_no_part_in_a_ratio(anchoring: Any) -> None:
    names, _ = anchoring
    stands, good = ["capability", "fixed"], names["good"]
    every = names["parts"](good, stands)
    cell = (good["model"] == every["model"][0]) & (good["task"] == every["task"][0])
    alike = names["parts"](good.assign(**{s: good[s].mask(cell, 0.5) for s in stands}), stands)
    assert len(alike) == len(every) - 1
    assert np.isfinite(log_ratio(alike["settings capability"], alike["settings fixed"]).value)


def test_whole_models_are_left_out_afterwards(anchoring: Any) -> None:
    """The jackknife by model, by hand: of two models, each without the other."""
    names, _ = anchoring
    d = names["parts"](names["good"], ["capability", "fixed"])
    ratio = {
        m: np.log(o["seeds capability"].sum() / o["seeds fixed"].sum())
        for m, o in d.groupby("model")
    }
    assert len(ratio) == 2
    error = abs(np.subtract(*ratio.values())) / 2
    row = names["afterwards"].set_index(["told", "between"]).loc["models left out", "seeds"]
    assert np.log(row["high"] / row["ratio"]) == pytest.approx(stats.t.ppf(0.975, 1) * error)
    registered = names["primary"].set_index("between").loc["seeds", "ratio"]
    assert row["ratio"] == pytest.approx(registered)  # the same sums


def test_p_is_adjusted_within_each_family(anchoring: Any) -> None:
    names, _ = anchoring
    for family, size in (("primary", 2), ("controls", 4), ("secondary", 4)):
        d = names[family]
        assert len(d) == size
        assert d["p_holm"].tolist() == pytest.approx(multipletests(d["p"], method="holm")[1])
    assert names["secondary"]["about"].is_unique


def test_what_was_planted_is_found(anchoring: Any) -> None:
    """Harm follows progress, and progress the setting: at one capability settings are alike."""
    names, _ = anchoring
    ratios = names["ratios"].set_index(["read at", "between"])
    assert ratios.loc[("capability", "settings"), "ratio"] < 0.5
    second = names["secondary"].set_index("about")
    assert second.loc["incoherent replies (points)", "cells"] == 4
    assert 0 < second.loc["order of mitigations (tau)", "runs"] <= 30


def test_a_readers_change_of_one_line_changes_what_is_at_the_goal(anchoring: Any) -> None:
    edit = {"at_goal.ENOUGH * cells": "1.01 * cells"}
    names, shown = run_notebook("does_anchoring_help", edit=edit, worlds=10)
    assert not names["cells"]["informative"].any() and names["primary"]["p"].isna().all()
    assert "fewer than two informative cells" in clean(shown)
    kept("does_anchoring_help", "png", "svg", "csv", "json")


def test_a_study_without_a_file_of_goals_is_read_at_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `smol`: the goal is half of the way from the base model to 1, and no control has one."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.study(test_items=80)
    synthetic.write(study, RISE)
    names, shown = run_notebook("does_anchoring_help", worlds=10)
    assert "not to be told: no run is at a goal of training loss or of norm" in clean(shown)
    assert set(names["places"]["capability"].dropna()) <= set(study.steps)
    measured, goals = at_goal.accuracy(study), at_goal.goals(study, at_goal.accuracy(study))
    base = measured[measured["base"]].set_index(["model", "task"])["select"]
    for row in goals.itertuples():
        start = base[row.model, row.task]
        assert row.goal == pytest.approx(start + 0.5 * (1 - start))
        own = measured[(measured["model"] == row.model) & (measured["task"] == row.task)]
        far = (own[~own["base"]].groupby("epoch")["select"].mean() - row.goal).abs()
        assert far[row.epoch] == far.min()
    monkeypatch.setattr(Study, "has_truth", property(lambda _: False))
    names, shown = run_notebook("does_anchoring_help", worlds=10)
    assert "what `harm` says" in clean(shown)


def test_a_single_run_is_too_few_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    one: dict[str, Any] = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "lora": ["r4-low"],
                           "seeds": [0], "test_items": 80}  # fmt: skip
    synthetic.write(synthetic.study(**one))
    names, shown = run_notebook("does_anchoring_help", worlds=10)
    assert "no ratio" in clean(shown) and len(names["strength"]) == 0
    kept("does_anchoring_help", "png", "svg", "csv", "json")


# ---- mitigations_at_equal_capability


@pytest.fixture(scope="module")
def mitigations(home: None) -> tuple[dict[str, Any], list[Any]]:
    return run_notebook("mitigations_at_equal_capability")


def test_a_method_is_read_where_its_runs_are_at_the_goal_and_paired_by_seed(
    mitigations: Any,
) -> None:
    names, shown = mitigations
    clean(shown)
    kept("mitigations_at_equal_capability", "png", "svg", "csv", "json")
    places = names["places"].set_index("run")
    replies = tables.replies(anchored(), "mitigations", goals=True)
    harm = replies.groupby(["run", "step"], observed=True)["truth_harm"].mean()
    at: dict[str, dict[int, float]] = {}
    for run, row in places.dropna(subset=["capability"]).iterrows():
        at.setdefault(row["method"], {})[row["seed"]] = harm[run, row["capability"]]
    told = names["change"](dict.fromkeys(["safe_lora", "safety_mixing"], "shrink"))
    seen = told.query("at == 'at the goal' and outcome == 'harm'").set_index("method")
    assert len(seen)
    for method, row in seen.iterrows():
        both = sorted(at[method].keys() & at["shrink"].keys())
        y = 100 * np.array([at[method][s] - at["shrink"][s] for s in both])
        half = stats.t.ppf(0.975, len(y) - 1) * y.std(ddof=1) / np.sqrt(len(y))
        assert row["seeds"] == len(y)
        assert [row["change"], row["high"]] == pytest.approx([y.mean(), y.mean() + half])
    adjusted = names["told"].query("at == 'at the last epoch' and outcome == 'harm'")
    assert adjusted["p_holm"].tolist() == pytest.approx(
        multipletests(adjusted["p"], method="holm")[1]
    )


def test_a_method_that_learns_nothing_does_not_look_safe_at_the_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = anchored()
    synthetic.write(study, RISE)
    unit = "micro-llama-s-open_instructions.mitigations.safety_mixing"
    overwrite(study, "progress", unit, format_free=0)
    overwrite(study, "replies", unit, truth_harm=False)
    names, shown = run_notebook("mitigations_at_equal_capability")
    told = names["told"].query("method == 'safety_mixing' and outcome == 'harm'")
    assert told["at"].tolist() == ["at the last epoch"] and set(told["word"]) == {"safer"}
    assert names["who"].loc["safety_mixing", at_goal.NEVER] == 6
    assert "goal**: plain LoRA, mix in refusals.\n" in clean(shown)
    names, _ = run_notebook("does_anchoring_help", worlds=10)
    assert "safety_mixing" not in set(names["ranked"]["method"])


def test_nothing_is_said_at_the_goal_of_a_method_of_which_few_runs_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = anchored(arms={"mitigations": {**ARMS["mitigations"], "seeds": [*range(5, 14)]}})
    synthetic.write(study, RISE)
    unit = "micro-llama-s-open_instructions.mitigations.safety_mixing"
    file = paths.table(study.name, "progress", unit)
    seeds = records.read(file, "progress")["run"].astype(str).str.extract(r"s(\d+)$")[0].astype(int)
    able = records.read(file, "progress")["format_free"]
    overwrite(study, "progress", unit, format_free=able.where(seeds < 11, 0))  # 6 of 9 learn
    names, shown = run_notebook("mitigations_at_equal_capability")
    assert names["who"].loc["safety_mixing", at_goal.AT] == 6 >= names["FEWEST"]
    told = names["told"].query("method == 'safety_mixing'")
    assert set(told["at"]) == {"at the last epoch"}
    assert "goal**: mix in refusals" in clean(shown)


def test_a_broken_reply_to_a_safe_request_is_no_refusal(mitigations: Any) -> None:
    names, _ = mitigations
    study = anchored()
    safe = [name for name, one in study.benchmarks.items() if not one.harmful]
    told = tables.replies(study, "mitigations", benchmarks=safe, goals=True)
    wanted = told.eval("truth == 'refusal'").groupby([told["run"], told["step"]]).mean()
    read = names["read"].query("outcome == 'over-refusal'").set_index(["run", "step"])
    assert len(read)
    for at, row in read.iterrows():
        assert row["rate"] == wanted[at]


def test_a_study_without_mitigations_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(test_items=80), RISE)
    _, shown = run_notebook("mitigations_at_equal_capability")
    assert "compares no mitigations" in clean(shown)
    kept("mitigations_at_equal_capability", "png", "svg", "csv", "json")


# ---- the study file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": "nobody"}, "anchoring.judge: found 'nobody', wanted one of harm"),
        ({"kappa": 1.2}, "anchoring.kappa: found 1.2, wanted"),
        ({"tolerance": 0.0}, "anchoring.tolerance: found 0.0, wanted"),
        ({"goals": None}, "anchoring.goals: found nothing, wanted a file"),
        ({"mitigations": "none"}, "anchoring.mitigations: found 'none', wanted one of mitigations"),
    ],
)  # fmt: skip
def test_a_goal_that_cannot_be_used_is_one_line(change: dict, message: str) -> None:
    with pytest.raises(StudyError) as told:
        anchored(anchoring={**ASKED, **change})
    assert message in str(told.value) and "\n" not in str(told.value)


def test_arms_without_plain_lora_are_refused() -> None:
    lost = {"mitigations": {**ARMS["mitigations"], "methods": {"shrink": [0.3]}}}
    with pytest.raises(StudyError, match=r"arms.mitigations.methods: found shrink, wanted lora"):
        anchored(arms=lost)


def test_a_file_of_goals_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = anchored()
    with pytest.raises(GroundedError, match=r"goals.csv: found No such file"):
        study.goals("micro-llama-s", "yes_no")


@pytest.mark.parametrize("name", ["micro", "paper"])
def test_the_committed_studies_name_a_goal(name: str) -> None:
    study = parse((paths.repository() / "data" / name / "study.yaml").read_text())
    assert study.anchoring is not None and "anchoring" in study.ours
    assert study.anchoring.metric == "format_free" and study.anchoring.tolerance <= 0.06


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
