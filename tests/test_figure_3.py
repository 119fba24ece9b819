"""Figure 3 on tables whose truth is planted: rates, lines, and a reader's change of one line."""

import copy
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
    return run_notebook("figure_3_evaluators", task="yes_no")[0]


def test_a_rate_is_the_share_of_yes_among_the_verdicts_given(names: dict[str, Any]) -> None:
    verdicts = records.read_study("synthetic", "verdicts")
    own = verdicts[(verdicts["judge"] == "compliance") & verdicts["benchmark"].isin(HARMFUL)]
    wanted = own.groupby(["run", "step"], observed=True)["label"].agg(["sum", "count", "size"])
    points = names["points"].query("judge == 'compliance' and score == 'strict'")
    assert len(points) == 2 * 6 * 4  # models, runs, checkpoints; no base model among them
    for row in points.itertuples():
        yes, given, asked = wanted.loc[(row.run, row.step)]
        assert (row.yes, row.given, row.missing) == (yes, given, asked - given)
        assert row.rate == pytest.approx(yes / given)


def test_the_line_is_least_squares(names: dict[str, Any]) -> None:
    points = names["points"].query("judge == 'harm' and score == 'strict'")
    slope = np.polyfit(points["capability"], points["rate"], 1)[0]
    lines = names["lines"].set_index(["score", "measure"])
    line = lines.loc[("strict", "harmfulness rate")]
    assert line["slope"] == pytest.approx(slope)
    r = np.corrcoef(points["capability"], points["rate"])[0, 1]
    assert line["R²"] == pytest.approx(r**2)


def test_a_readers_change_of_one_line_changes_the_figure(names: dict[str, Any]) -> None:
    file = paths.figures("synthetic") / "figure_3_evaluators.csv"
    before = pd.read_csv(file)
    run_notebook("figure_3_evaluators", task="yes_no", edit={"d.yes / d.given": "d.yes / d.asked"})
    after = pd.read_csv(file)
    assert list(after["rate"]) == pytest.approx(list(after["yes"] / after["asked"]), abs=1e-6)
    assert (after["rate"] < before["rate"]).any()


def test_what_strict_scoring_gains_beyond_format_free_is_format(names: dict[str, Any]) -> None:
    items = names["answers"]
    last = items[(items["step"] == 80) & (items["task"] == "yes_no")]
    base = items[items["base"] & (items["task"] == "yes_no")]
    gains = names["gains"].loc["yes_no"]
    for column, score in (("correct", "strict"), ("correct_format_free", "format-free")):
        wanted = last[column].mean() - base[column].mean()  # as many runs of each model
        assert gains[score] == pytest.approx(100 * wanted)
    assert gains["format"] == pytest.approx(gains["strict"] - gains["format-free"])


def test_a_single_run_gives_points_and_no_line(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    one: dict[str, Any] = {
        "models": ["micro-llama-s"],
        "tasks": ["yes_no"],
        "lora": ["r4-low"],
        "seeds": [0],
    }
    synthetic.write(synthetic.study(**one))
    names, shown = run_notebook("figure_3_evaluators")
    assert len(names["points"]) and not names["fits"]
    assert "Too few runs" in texts(shown) and "nan" not in texts(shown)


def test_reliability_is_kr_20_of_the_items(names: dict[str, Any]) -> None:
    """Kuder and Richardson's formula 20: Cronbach's alpha of items that are right or wrong."""
    points = names["points"].query("judge == 'harm' and score == 'strict'")
    answers = names["answers"].query("task == 'yes_no'")
    answers = answers.merge(points[["run", "step"]])
    right = answers.pivot(index=["run", "step"], columns="item", values="correct").astype(float)
    p, total, k = right.mean(), right.sum(axis=1), right.shape[1]
    wanted = k / (k - 1) * (1 - (p * (1 - p)).sum() / total.var(ddof=0))
    assert wanted > 0.1
    assert names["reliability"](points, "correct") == pytest.approx(wanted)


def test_judges_of_one_kind_have_a_line_each(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    judge = synthetic.study().model_dump(mode="json", exclude_none=True)["judges"]["harm"]
    two = {"harm": judge, "harm_too": copy.deepcopy(judge)}
    synthetic.write(synthetic.study(judges=two), {"open_instructions": 0.7, "yes_no": 0.3})
    names, _ = run_notebook("figure_3_evaluators", task="yes_no", judges=[*two])
    lines = names["lines"].set_index(["score", "measure"])["slope"]
    for name in two:
        own = names["points"].query("judge == @name and score == 'strict'")
        slope = np.polyfit(own["capability"], own["rate"], 1)[0]
        assert lines["strict", f"harmfulness rate ({name})"] == pytest.approx(slope)


def test_an_unknown_task_is_one_line(home: None) -> None:
    with pytest.raises(GroundedError, match="task: found 'nope', wanted one of open_instructions"):
        run_notebook("figure_3_evaluators", task="nope")
