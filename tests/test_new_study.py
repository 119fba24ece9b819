"""A study file of one's own, put in place and read."""

from pathlib import Path

import pytest

from grounded.errors import GroundedError
from grounded.study import load
from workflow import __main__ as workflow


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    return tmp_path


def test_a_new_study_is_a_study_with_a_judge_of_harm_and_harmful_requests(home: Path) -> None:
    workflow.new("mine")
    asked = load("mine")
    assert asked.name == "mine" and asked.harmful_benchmarks
    assert "harm" in {judge.kind for judge in asked.judges.values()}
    assert [run.id for run in asked.runs()] == ["base.task.given.mine.s0"]


def test_nothing_is_overwritten(home: Path) -> None:
    file = home / "data" / "mine" / "study.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(GroundedError, match="data/mine/study.yaml: found a study there"):
        workflow.new("mine")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["", "../mine", "My study", "a.b"])
def test_a_name_that_no_study_may_have_is_one_line(name: str, home: Path) -> None:
    with pytest.raises(GroundedError, match="STUDY: found"):
        workflow.new(name)
    assert not (home / "data").exists()
