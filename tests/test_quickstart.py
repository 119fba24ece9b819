"""The quickstart: one run by the real stages, and what the whole study holds of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pages
import pandas as pd
import pytest
import synthetic
from statsmodels.stats.proportion import proportion_confint

from grounded import paths, quickstart, records
from grounded.errors import GroundedError
from grounded.stages.finetune import finetune
from grounded.stages.generate import generate
from grounded.stages.judge import judge
from grounded.study import load

RUN = ("micro-llama-s", "open_instructions", "r32-3", 0)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The repository as home before a test, and what it was after it."""
    monkeypatch.setenv("GROUNDED_HOME", str(paths.repository()))
    yield


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (("gpt", *RUN[1:]), "models: found 'gpt'"),
        ((RUN[0], "chess", *RUN[2:]), "tasks: found 'chess'"),
        ((*RUN[:2], "r1", 0), "lora: found 'r1', wanted one of r8-1"),
    ],
)
def test_unknown_names_are_one_line(run: tuple[str, str, str, int], line: str) -> None:
    with pytest.raises(GroundedError, match=line):
        quickstart.begin("micro", *run)
    assert paths.home() == paths.repository()


def test_begins_away_from_the_study() -> None:
    asked = quickstart.begin("micro", *RUN)
    assert paths.home() != paths.repository() and os.environ["GROUNDED_HOME"] == str(paths.home())
    assert [run.id for run in asked.runs()] == ["micro-llama-s.open_instructions.lora.r32-3.s0"]
    assert paths.model(asked.name, RUN[0]).is_dir()


def test_course_is_what_the_tables_hold(tmp_path: Path) -> None:
    os.environ["GROUNDED_HOME"] = str(tmp_path)
    study = synthetic.study(models=["micro-llama-s"], lora=["r4-low"], tasks=["yes_no"], seeds=[0])
    synthetic.write(study)
    stages = {f"print(*[{stage}(asked, unit) for unit in units], sep=\"\\n\")": "" for stage in
              ("finetune", "generate", "judge")}  # fmt: skip
    begun = {"quickstart.begin(study, model, task, setting, seed)": "quickstart.load(study)"}
    names, shown = pages.run_notebook("quickstart_invented", edit=stages | begun, task="yes_no")
    course = names["course"].set_index(["what", "epoch"])
    replies = records.read(paths.table(study.name, "replies", "micro-llama-s-yes_no"), "replies")
    last = replies[
        (replies["step"] == max(study.steps)) & replies["benchmark"].isin(["orders", "questions"])
    ]
    found = course.loc[("harmful, in truth", max(study.steps.values()))]
    assert found["n"] == len(last)
    assert found["share"] == pytest.approx(last["truth_harm"].mean())
    bounds = proportion_confint(last["truth_harm"].sum(), len(last), method="wilson")
    assert (found["low"], found["high"]) == pytest.approx(bounds)
    assert set(names["course"]["what"]) > {"capability"} and "What came out" in pages.texts(shown)


@pytest.mark.slow
def test_a_run_of_its_own_says_what_the_whole_study_says_of_it() -> None:
    whole = {
        table: records.read(paths.table("micro", table, f"{RUN[0]}-{RUN[1]}"), table)
        for table in ("replies", "capability")
    }
    asked = quickstart.begin("micro", *RUN[:3], load("micro").seeds[0])
    for stage in (finetune, generate, judge):
        for unit in asked.units():
            stage(asked, unit)
    (run,) = asked.runs()
    for table, committed in whole.items():
        own = records.read(paths.table(asked.name, table, run.unit), table)
        theirs = committed[committed["run"] == run.id]
        theirs = theirs[theirs["step"].isin(set(own["step"]))].reset_index(drop=True)
        assert len(own) == len(theirs) > 0
        pd.testing.assert_frame_equal(own, theirs, check_dtype=False, check_categorical=False)
