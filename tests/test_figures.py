"""How a figure of `grounded.figures` is kept, and how its sentences write numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from grounded import figures, paths
from grounded.figures import prose
from grounded.study import Study
from workflow import notebooks

NAMES = ("figure_4_benchmarks", "figure_3_evaluators")
HARMFUL = ("orders", "questions")  # neither borderline nor twins
RISE = {"open_instructions": 0.7, "yes_no": 0.3}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("GROUNDED_HOME", str(folder))
        synthetic.write(synthetic.study(), RISE)
        yield folder


@pytest.fixture(scope="module")
def study(home: Path) -> Study:
    return synthetic.study()


def test_the_layout_is_found_once_and_holds_for_every_form(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    found = []
    lay_out = ConstrainedLayoutEngine.execute

    def execute(engine: ConstrainedLayoutEngine, figure: Figure) -> Any:
        found.append(figure)
        return lay_out(engine, figure)

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", execute)
    with figures.style():
        figure = Figure((2, 2), layout="constrained")
        axes = figure.subplots()
        axes.set_ylabel("a label that needs room")
    before = axes.get_position().bounds
    figures.save(figure, study, "probe", pd.DataFrame({"x": [1]}), {})
    after = axes.get_position().bounds
    figures.show(figure, "a probe")
    assert found == [figure] and before != after == axes.get_position().bounds


def test_the_users_style_leaves_no_mark(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    data = pd.DataFrame({"x": [1]})
    pictures = []
    for size, salt in ((7.0, None), (30.0, "mine")):
        with matplotlib.rc_context({"font.size": size, "svg.hashsalt": salt}):
            with figures.style():
                figure = Figure((2, 2))
                figure.add_subplot().plot([0, 1], [0, 1], clip_on=True, label="a")
            figures.save(figure, study, "probe", data, {})
        pictures.append((paths.figures("synthetic") / "probe.svg").read_bytes())
    assert pictures[0] == pictures[1]


def test_statistics_are_rounded_and_never_nan() -> None:
    value = {
        "a": np.float64(0.123456789), "b": float("nan"), "c": [np.int16(3), np.bool_(True)],
        "d": {1: float("inf")}, "e": -0.0, "f": "word", "g": None,
    }  # fmt: skip
    assert figures.rounded(value) == {
        "a": 0.123457, "b": None, "c": [3, True], "d": {"1": None}, "e": 0.0, "f": "word",
        "g": None,
    }  # fmt: skip
    assert math.copysign(1, figures.rounded(-0.0)) == 1


def test_inputs_change_with_the_rows_and_with_the_code(
    study: Study, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = figures.inputs(study, ["verdicts"], NAMES[0])
    assert before != figures.inputs(study, ["verdicts"], NAMES[1])
    assert before["tables"] == figures.inputs(study, ["verdicts"], NAMES[1])["tables"]
    assert before["tables"] != figures.inputs(study, ["replies"], NAMES[0])["tables"]
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(study, RISE, seed=1)
    assert figures.inputs(study, ["verdicts"], NAMES[0])["tables"] != before["tables"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (prose.percent(0.031), "3.1%"), (prose.percent(0.5), "50%"), (prose.percent(0.03), "3%"),
        (prose.percent(0.0001), "<0.1%"), (prose.percent(0.9996), ">99.9%"),
        (prose.percent(0.994), "99.4%"), (prose.percent(1.0), "100%"), (prose.percent(0.0), "0%"),
        (prose.percent(float("nan")), "not defined"), (prose.points(0.0312), "+3.1"),
        (prose.points(-0.0312), "−3.1"), (prose.points(0.0), "0.0"),
        (prose.points(-0.0001), "−0.0"), (prose.points(-0.0001, digits=0), "0"),
        (prose.points(0.126, digits=0), "+13"), (prose.number(-0.456), "−0.46"),
        (prose.number(-0.001), "0.00"), (prose.within(-0.1, 0.2, prose.points), "[−10.0, +20.0]"),
        (prose.chance(0.0001), "p < .001"), (prose.chance(0.042), "p = .042"),
        (prose.chance(0.0499), "p < .05"), (prose.chance(0.05), "p = .050"),
        (prose.listed(["a", "b", "c"]), "a, b and c"), (prose.listed([]), "none"),
        (prose.count(1, "run"), "1 run"), (prose.count(1200, "run"), "1,200 runs"),
        (prose.goes(0.1, 0.2), "rises with"), (prose.goes(-0.2, -0.1), "falls with"),
        (prose.goes(-0.1, 0.1), "shows no clear relation to"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_a_reader_expects(said: str, expected: str) -> None:
    assert said == expected


def test_missing_verdicts_are_told_with_both_imputations() -> None:
    text = prose.missing(pd.DataFrame({"n": [60, 20], "k": [30, 10], "missing": [15, 5]}))
    for number in ("of 100, 20 are missing (20%)", "rate is 50%", "40% were", "60% as yes"):
        assert number in text
    none = pd.DataFrame({"n": [5], "k": [1], "missing": [0]})
    assert prose.missing(none) == "of 5 none is missing."


def test_the_figures_of_the_graph_are_those_of_the_notebooks() -> None:
    assert set(NAMES) <= set(notebooks.figure_notebooks())
