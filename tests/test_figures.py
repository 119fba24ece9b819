"""How a figure is kept: picture, numbers drawn, statistics and what they came from."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import synthetic

from grounded import paths, plot, save
from grounded.study import Study
from workflow import notebooks

NAMES = ("figure_4_benchmarks", "figure_3_evaluators")
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


def test_the_layout_of_the_picture_holds_for_every_form(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    drawn, axes = plt.subplots(figsize=(2, 2))
    axes.set_ylabel("a label that needs room")
    before = axes.get_position().bounds
    shown = save.figure(drawn, study, "probe", pd.DataFrame({"x": [1]}), "a probe")
    after = axes.get_position().bounds
    assert before != after and drawn.get_layout_engine() is None
    assert shown.alt == "a probe" and shown.data.startswith(b"\x89PNG")
    assert not plt.fignum_exists(drawn.number)  # type: ignore[attr-defined]
    kept = {file.name for file in paths.figures("synthetic").iterdir()}
    assert kept == {"probe.png", "probe.svg", "probe.csv"}


def test_a_last_bit_changes_no_file(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16.04375 lies halfway at six digits; a sum in another order gives a neighbour of it."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    kept = []
    for towards in (0.0, 100.0):
        number = np.nextafter(16.04375, towards)
        plot.theme()
        drawn, axes = plt.subplots(figsize=(2, 2))
        axes.plot([0, number], [0, 1], "o-")
        axes.set_position((0.2, np.nextafter(0.2, towards), 0.7, 0.7))
        save.figure(drawn, study, "probe", pd.DataFrame({"x": [number]}), "a probe")
        kept.append({file.name: file.read_bytes() for file in paths.figures("synthetic").iterdir()})
        assert save.rounded(number) == save.rounded(16.04375)
    assert kept[0] == kept[1]


def test_the_users_style_leaves_no_mark(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    pictures = []
    for size, salt in ((7.0, None), (30.0, "mine")):
        matplotlib.rcParams.update({"font.size": size, "svg.hashsalt": salt})
        plot.theme()
        drawn, axes = plt.subplots(figsize=(2, 2))
        axes.plot([0, 1], [0, 1], clip_on=True, label="a")
        save.figure(drawn, study, "probe", pd.DataFrame({"x": [1]}), "a probe")
        pictures.append((paths.figures("synthetic") / "probe.svg").read_bytes())
    assert pictures[0] == pictures[1]


def test_statistics_are_rounded_and_never_nan() -> None:
    value = {
        "a": np.float64(0.123456789), "b": float("nan"), "c": [np.int16(3), np.bool_(True)],
        "d": {1: float("inf")}, "e": -0.0, "f": "word", "g": None,
    }  # fmt: skip
    assert save.rounded(value) == {
        "a": 0.123457, "b": None, "c": [3, True], "d": {"1": None}, "e": 0.0, "f": "word",
        "g": None,
    }  # fmt: skip
    assert math.copysign(1, save.rounded(-0.0)) == 1


def test_inputs_change_with_the_rows_and_with_the_code(
    study: Study, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = save.inputs(study, ["verdicts"], NAMES[0])
    assert before != save.inputs(study, ["verdicts"], NAMES[1])
    assert before["tables"] == save.inputs(study, ["verdicts"], NAMES[1])["tables"]
    assert before["tables"] != save.inputs(study, ["replies"], NAMES[0])["tables"]
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(study, RISE, seed=1)
    assert save.inputs(study, ["verdicts"], NAMES[0])["tables"] != before["tables"]


def test_the_figures_of_the_graph_are_those_of_the_notebooks() -> None:
    assert set(NAMES) <= set(notebooks.figure_notebooks())
