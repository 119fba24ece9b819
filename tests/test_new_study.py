"""A study file of one's own, put in place and read."""

from pathlib import Path

import pytest

from grounded import at_goal
from grounded.errors import GroundedError
from grounded.stages import public
from grounded.study import Study, load
from workflow import command as workflow


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


def test_its_goal_holds_as_it_stands_once_the_comment_is_taken_off(home: Path) -> None:
    workflow.new("mine")
    file = home / "data" / "mine" / "study.yaml"
    before, head, block = file.read_text().partition("# anchoring:\n")
    goal, gap, after = block.partition("\n\n")
    lines = [line.removeprefix("# ") for line in (head + goal).splitlines()]
    file.write_text(before + "\n".join(lines) + gap + after)
    plain = load("mine")
    assert plain.anchoring is not None and not plain.anchoring.goals
    assert plain.judge(plain.anchoring.judge).kind == "harm"
    file.write_text(before + gap + after)
    assert plain.anchoring == at_goal.asked(load("mine"))  # what holds without it


def written(home: Path, checkpoints: str) -> Study:
    """The new study with an adapter in its folder and these lines in place of its checkpoint."""
    file = home / "data" / "mine" / "study.yaml"
    if not file.exists():
        workflow.new("mine")
        (file.parent / "adapter").mkdir()
        (file.parent / "adapter" / "adapter_config.json").write_text("{}")
        (file.parent / "template").write_text(file.read_text())
    text = (file.parent / "template").read_text()
    old = next(line for line in text.splitlines() if line.startswith("      - adapter: adapter"))
    file.write_text(text.replace(old, checkpoints))
    return load("mine")


def test_one_final_adapter_needs_no_epoch_and_giving_it_changes_no_fingerprint(home: Path) -> None:
    bare = written(home, "      - {adapter: adapter}")
    told = written(home, "      - {epoch: 1, adapter: adapter}")
    later = written(home, "      - {epoch: 3, adapter: adapter}")
    records = [public.given(one, one.runs()[0]) for one in (bare, told, later)]
    assert records[0] == records[1] != records[2]
    assert records[0] is not None and records[0][0][:2] == [1.0, "adapter"]


@pytest.mark.parametrize(
    ("checkpoints", "line"),
    [
        (["{adapter: a}", "{adapter: b}"],
         "mine.checkpoints.0.epoch: found nothing, wanted a number, to order the 2 checkpoints"),
        (["{epoch: 1, adapter: a}", "{adapter: b}"], "mine.checkpoints.1.epoch: found nothing"),
        (["{epoch: 2, adapter: a}", "{epoch: 1, adapter: b}"],
         r"mine.checkpoints: found \[2.0, 1.0\], wanted epochs that rise"),
    ],
)  # fmt: skip
def test_several_checkpoints_say_their_epochs(
    checkpoints: list[str], line: str, home: Path
) -> None:
    with pytest.raises(GroundedError, match=f"data/mine/study.yaml: given.{line}") as error:
        written(home, "\n".join(f"      - {one}" for one in checkpoints))
    assert "\n" not in str(error.value)


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
