"""What the readers of tables refuse, in one line."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic

from grounded import paths, tables
from grounded.errors import GroundedError
from grounded.stages.plan import IN_PARTS, units
from grounded.study import load
from workflow import command as workflow
from workflow import drawn


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two models, two tasks and an arm, whose tables are all there."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    arm = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "methods": {"lora": []}, "seeds": [7]}
    synthetic.write(synthetic.study(lora=["r4-low"], arms={"more": arm}))
    return tmp_path


def remove(unit: str, *names: str) -> None:
    for name in names or tables.names(load("synthetic")):
        paths.table("synthetic", name, unit).unlink()


def test_a_study_that_is_whole_is_read_whole(home: Path) -> None:
    asked = load("synthetic")
    assert tables.measured(asked) is asked and tables.left_out(asked) == ""


def test_what_is_not_measured_is_left_out_and_said(home: Path) -> None:
    whole = load("synthetic")
    before = tables.verdicts(whole)
    for model in whole.models:
        remove(f"{model}-yes_no")
    remove("micro-llama-s-yes_no.more.lora")
    asked = tables.measured("synthetic")
    assert list(asked.tasks) == ["open_instructions"] and not asked.arms
    said = tables.verdicts(asked)
    own = before[before["base"] | (before["task"] == "open_instructions")]
    assert len(said) == len(own) and said["label"].sum() == own["label"].sum()
    assert set(tables.capability(asked)["task"]) == {"open_instructions"}
    some, all_ = len(asked.runs()), len(whole.runs(arm=None))
    assert f"**Measured so far: {some} of {all_} runs (open_instructions).**" in tables.left_out(
        asked
    )


def test_a_unit_may_be_left_out_of_one_model_alone(home: Path) -> None:
    first, second = load("synthetic").models
    remove(f"{second}-yes_no")
    asked = tables.measured("synthetic")
    assert list(asked.tasks) == list(load("synthetic").tasks) and "more" in asked.arms
    cells = {(run.model, run.task) for run in asked.runs()}
    assert (first, "yes_no") in cells and (second, "yes_no") not in cells
    assert len(asked.missing) == 3 and len(tables.runs(asked)) == len(asked.runs())


def test_half_a_unit_is_an_error_of_one_line(home: Path) -> None:
    remove("micro-llama-s-yes_no", "verdicts")
    found = r"verdicts/micro-llama-s-yes_no.parquet: run: found 0 of the unit's 3 runs and 0 others"
    with pytest.raises(GroundedError, match=found):
        tables.measured("synthetic")


def test_a_unit_without_one_of_its_runs_is_an_error_of_one_line(home: Path) -> None:
    more = load("synthetic").model_copy(update={"seeds": (0, 1, 2, 3)})
    found = r"yes_no.parquet: run: found 3 of the unit's 4 runs and 0 others, wanted all"
    with pytest.raises(GroundedError, match=found.replace("yes_no", ".*")):
        tables.measured(more)


def test_a_study_without_a_run_is_an_error_of_one_line(home: Path) -> None:
    for unit in load("synthetic").units():
        if not unit.endswith("-base"):
            remove(unit)
    with pytest.raises(GroundedError, match="data/synthetic: found the tables of no run, wanted"):
        tables.measured("synthetic")


def test_the_kappas_of_judges_tuned_here_are_those_of_their_records() -> None:
    found = tables.kappas("smol")
    assert set(found) == {"compliance", "compliance_broken", "harm", "harm_broken"}
    record = json.loads((paths.judge("smol", "harm") / paths.RECORD).read_text())
    assert found["harm"] == record["acceptance"]["held_out"]["kappa"]
    assert tables.kappas("micro") == {}


def redacted(home: Path) -> None:
    """The tables as a clone brings those of real models."""
    for name in tables.names(load("synthetic")):
        (home / "data/synthetic/redacted").mkdir(exist_ok=True)
        (home / "data/synthetic" / name).rename(home / "data/synthetic/redacted" / name)


def test_a_clone_draws_what_it_has_and_measures_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, kept = "micro-llama-s-yes_no", "micro-llama-s-open_instructions"
    remove(gone)
    monkeypatch.setattr(workflow, "status", lambda _: [])
    asked = load("synthetic")
    workflow._stale(asked)  # whole tables: work goes on where it was
    assert gone in units(asked, "judge") and not capsys.readouterr().out
    marks = paths.data("synthetic") / IN_PARTS
    some, all_ = len(tables.measured(asked).runs(arm=None)), len(asked.runs(arm=None))
    for in_parts in (marks.touch, lambda: redacted(home)):
        in_parts()
        workflow._stale(asked)
        assert gone not in units(asked, "judge") and kept in units(asked, "judge")
        assert f"synthetic: {some} of {all_} runs are measured" in capsys.readouterr().out
        marks.unlink(missing_ok=True)


def test_a_clone_without_a_run_draws_nothing_and_says_so_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = load("synthetic")
    for unit in asked.units(arm=None):
        if not unit.endswith("-base"):
            remove(unit)
    redacted(home)
    monkeypatch.setattr(workflow, "status", lambda _: [])
    found = f"synthetic: found none of its {len(asked.runs(arm=None))} runs measured, wanted some"
    with pytest.raises(GroundedError, match=found):
        workflow._stale(asked)


def test_a_figure_is_drawn_anew_when_a_unit_came_without_its_texts(home: Path) -> None:
    redacted(home)
    asked = load("synthetic")
    before = drawn._state(asked, "figure_1_epochs", None)["inputs"]
    assert drawn._state(asked, "figure_1_epochs", None)["inputs"] == before
    remove("micro-llama-s-yes_no")
    assert drawn._state(asked, "figure_1_epochs", None)["inputs"] != before


def test_rows_of_a_run_that_the_study_lacks_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.study(models=["micro-llama-s"], tasks=["yes_no"], lora=["r4-low"])
    synthetic.write(study)
    fewer = study.model_copy(update={"seeds": (0,)})
    found = r"yes_no.parquet: run: found micro-llama-s.yes_no.*s1, wanted a run of the study"
    with pytest.raises(GroundedError, match=found):
        tables.capability(fewer)


def test_what_was_asked_at_a_goal_enters_no_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such checkpoints are chosen by what they can do; a mean over an epoch may not hold them."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    asked = {"metric": "strict", "kappa": 0.5, "tolerance": 0.1, "every": 4, "goals": "goals.csv",
             "judge": "harm"}  # fmt: skip
    study = synthetic.study(models=["micro-llama-s"], anchoring=asked)
    synthetic.write(study)
    epochs = {0.0, *study.measure_at}
    for read in (tables.replies, tables.verdicts, tables.coherence, tables.capability):
        plain, whole = read(study), read(study, goals=True)
        assert set(plain["epoch"]) == epochs and len(plain) < len(whole)
        key = [name for name in ("run", "step", "task", "benchmark", "prompt", "judge", "item")
               if name in plain]  # fmt: skip
        kept = whole[whole["epoch"].isin(epochs)]
        pd.testing.assert_frame_equal(
            plain.sort_values(key, ignore_index=True), kept.sort_values(key, ignore_index=True)
        )
    assert len(tables.checkpoints(study)) > len(
        tables.replies(study)[["run", "step"]].drop_duplicates()
    )


def test_every_line_begins_at_its_own_base_model() -> None:
    base = {"epoch": 0, "base": True, "task": "base"}
    rows = pd.DataFrame(
        [
            {"model": "a", "y": 1, **base},
            {"model": "b", "y": 2, **base},
            {"model": "a", "y": 3, "epoch": 1, "base": False, "task": "x"},
            {"model": "a", "y": 4, "epoch": 1, "base": False, "task": "z"},
            {"model": "b", "y": 5, "epoch": 1, "base": False, "task": "x"},
        ]
    )
    found = tables.from_base(rows).set_index(["model", "task", "epoch"])["y"].to_dict()
    assert found == {("a", "x", 0): 1, ("a", "x", 1): 3, ("a", "z", 0): 1, ("a", "z", 1): 4,
                     ("b", "x", 0): 2, ("b", "x", 1): 5}  # fmt: skip


def test_a_score_that_nobody_asked_for_has_no_name() -> None:
    answers = pd.DataFrame({"correct": [0, 1], "correct_format_free": [1, 1], "likelihood": None})
    assert tables.scores(answers) == {"correct": "strict", "correct_format_free": "format-free"}
