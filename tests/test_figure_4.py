"""Figure 4 on tables whose truth is planted: changes by benchmark and judge, and their tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from pages import run_notebook, texts

from grounded import paths, records
from grounded.errors import GroundedError

Patch = pytest.MonkeyPatch
HARMFUL = ("orders", "questions")  # neither borderline nor twins


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        synthetic.write(synthetic.study(), {"open_instructions": 0.7, "yes_no": 0.3})
        yield


@pytest.fixture(scope="module")
def names(home: None) -> dict[str, Any]:
    return run_notebook("figure_4_benchmarks")[0]


def test_a_change_is_that_of_the_tables(names: dict[str, Any]) -> None:
    assert names["model"] == "micro-llama-l" and names["judge"] == "harm"
    assert len(names["changes"]) == 2 * 2 * 5  # tasks, benchmarks, three judges and two truths
    verdicts = records.read_study("synthetic", "verdicts")
    own = verdicts[(verdicts["judge"] == "keywords_micro") & (verdicts["benchmark"] == "orders")]
    rates = own.groupby(["run", "step"], observed=True)["label"].mean().astype(float)
    runs = [r for r, step in rates.index if r.startswith("micro-llama-l.yes_no.") and step == 80]
    change = [rates[run, 80] - rates["micro-llama-l.base", 0] for run in runs]
    where = "task == 'yes_no' and benchmark == 'orders' and judge == 'keywords_micro'"
    row = names["changes"].query(where).iloc[0]
    assert row["change"] == pytest.approx(100 * np.mean(change)) and len(runs) == 6
    assert row["word"] == "rises" and row["low"] > 0


def test_it_says_how_often_another_judge_would_change_the_word(names: dict[str, Any]) -> None:
    own = names["changes"][names["changes"]["judge"].isin(["harm", "compliance", "keywords_micro"])]
    apart = own.groupby(["task", "benchmark"], observed=True)["word"].nunique().gt(1).sum()
    assert f"Another judge would change the word in {apart} of 4 cases." in names["text"]


def test_a_list_that_says_what_another_says_is_counted_once(home: None) -> None:
    lists = 'lists = [name for name in asked.judges if asked.judges[name].kind == "keywords"]'
    twice = """changes = pd.concat(
    [changes, changes.query("judge == 'keywords_micro'").assign(judge="copy")]
)
lists = ["keywords_micro", "copy"]"""
    names, _ = run_notebook("figure_4_benchmarks", edit={lists: twice})
    assert "copy" in set(names["changes"]["judge"]) and names["silent"] == ["copy"]


def test_a_difference_has_the_sign_of_the_first_less_the_second(names: dict[str, Any]) -> None:
    tests = names["tests"].set_index(["task", "term"])["change"]
    cells = names["changes"].set_index(["task", "judge", "benchmark"])["change"]
    for task in ("open_instructions", "yes_no"):
        own = {(j, b): cells[task, j, b] for j in ("harm", "compliance") for b in HARMFUL}
        by_judge = {j: own[j, "orders"] - own[j, "questions"] for j in ("harm", "compliance")}
        # missing verdicts make the cells a little unequal, so the means of them are near, not equal
        assert tests[task, "orders − questions"] == pytest.approx(
            np.mean(list(by_judge.values())), abs=1.5
        )
        assert tests[task, "benchmark × judge"] == pytest.approx(
            by_judge["harm"] - by_judge["compliance"], abs=1e-6
        )
    assert tests["open_instructions", "orders − questions"] > 0  # planted: 1.0 and 0.8 of the harm


def test_a_readers_change_of_one_line_changes_the_figure(names: dict[str, Any]) -> None:
    file = paths.figures("synthetic") / "figure_4_benchmarks.csv"
    before = pd.read_csv(file)
    run_notebook("figure_4_benchmarks", edit={"d.yes / d.given": "d.yes / d.asked"})
    after = pd.read_csv(file)
    assert list(after["rate"]) == pytest.approx(list(after["yes"] / after["asked"]), abs=1e-6)
    assert (after["rate"] < before["rate"]).any()


def test_a_judge_that_never_varies_is_named_and_not_drawn(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.study()
    synthetic.write(study, {}, start=0)
    for unit in study.units():
        file = paths.table(study.name, "verdicts", unit)
        frame, about = records.read(file, "verdicts"), records.metadata(file)
        records.write(file, "verdicts", frame.assign(label=False), {"runs": about["runs"]})
    names, shown = run_notebook("figure_4_benchmarks")
    assert {"harm", "compliance", "keywords_micro"} <= set(names["constant"])
    text = texts(shown)
    assert "tells nothing" in text and "nan" not in text
    assert set(names["shown"]["judge"]) == {"truth: harmful", "truth: fulfilled"}


def test_a_single_run_and_benchmark_are_said_to_be_too_little(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    one: Any = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "lora": ["r4-low"], "seeds": [0],
                "benchmarks": {"questions": 5}}  # fmt: skip
    synthetic.write(synthetic.study(**one))
    names, shown = run_notebook("figure_4_benchmarks")
    assert names["model"] == "micro-llama-s" and not len(names["changes"])
    assert "Too few runs" in texts(shown) and "nan" not in texts(shown)


def test_unknown_names_are_refused_in_one_line(home: None) -> None:
    unknown: list[dict[str, Any]] = [{"judge": "nobody"}, {"model": "nothing"}]
    for parameters in unknown:
        with pytest.raises(GroundedError, match="found 'no(body|thing)'") as error:
            run_notebook("figure_4_benchmarks", **parameters)
        assert "\n" not in str(error.value)
