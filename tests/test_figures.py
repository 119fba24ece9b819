"""Figures 1-4: they draw what the tables hold, and say what came out whatever it is."""

import ast
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from grounded import figures, fingerprint, paths, records
from grounded.errors import GroundedError
from grounded.figures import benchmarks, prose
from grounded.study import Study
from workflow import notebooks

NAMES = ("figure_4_benchmarks",)
HARMFUL = ("orders", "questions")  # neither borderline nor twins
RISE = {"open_instructions": 0.7, "yes_no": 0.3}


def run_notebook(name: str) -> list[Any]:
    """Execute a notebook's code cells on the study `synthetic`; what each cell would show."""
    names: dict[str, Any] = {}
    shown = []
    for cell in fingerprint.cells(paths.notebook(name)):
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if "study" in names and isinstance(names["study"], str):
            names["study"] = "synthetic"
        if last is not None:
            assert isinstance(last, ast.Expr)
            shown.append(eval(compile(ast.Expression(last.value), name, "eval"), names))
    return shown


def texts(shown: list[Any]) -> str:
    return "\n".join(
        one.data for one in shown if hasattr(one, "data") and isinstance(one.data, str)
    )


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


@pytest.fixture(scope="module")
def shown(home: Path) -> dict[str, list[Any]]:
    return {name: run_notebook(name) for name in NAMES}


def raw(study: Study, table: str) -> pd.DataFrame:
    frame = records.read_study(study, table)
    for name in ("run", "benchmark", "judge", "task", "detector"):
        if name in frame:
            frame[name] = frame[name].astype(str)
    return frame


# ---- what is drawn is what the tables hold


def test_figure_4_draws_the_tables(study: Study) -> None:
    measured = benchmarks.measure(study, "micro-llama-l")
    assert set(measured["benchmark"]) == set(HARMFUL)
    found = benchmarks.conclusions(study, "micro-llama-l").set_index(["task", "benchmark", "judge"])
    assert len(found) == 2 * 2 * 5  # tasks, benchmarks, three judges and two truths
    verdicts = raw(study, "verdicts").query("judge == 'keywords_micro' and benchmark == 'orders'")
    rates = verdicts.groupby(["run", "step"])["label"].mean().astype(float)
    runs = [run.id for run in study.runs("micro-llama-l", "yes_no")]
    change = [rates[(run, 80)] - rates[("micro-llama-l.base", 0)] for run in runs]
    row = found.loc[("yes_no", "orders", "keywords_micro")]
    assert row["change"] == pytest.approx(np.mean(change)) and row["runs"] == 6
    assert row["conclusion"] == "rises" and row["low"] > 0
    lines = benchmarks.curves(measured, "keywords_micro")
    point = lines.query("task == 'yes_no' and benchmark == 'orders' and epoch == 5").iloc[0]
    assert point["rate"] == pytest.approx(np.mean([rates[(run, 80)] for run in runs]))


def test_dependence_counts_what_differs() -> None:
    rows = [
        ("t", b, j, c)
        for j, said in {
            "harm": ("rises", "rises"), "compliance": ("rises", "unclear"),
            "keywords": ("rises", "falls"), "truth:harm": ("falls", "falls"),
        }.items() for b, c in zip(("x", "y"), said, strict=True)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["task", "benchmark", "judge", "conclusion"])
    found = benchmarks.dependence(frame).iloc[0]
    assert found[["pairs", "rises", "falls", "unclear"]].tolist() == [6, 4, 1, 1]
    assert found[["judges", "by_benchmark", "benchmarks", "by_judge"]].tolist() == [3, 2, 2, 1]
    assert found["opposed"]


# ---- what is kept


def test_notebooks_keep_every_figure(home: Path, shown: dict) -> None:
    folder = paths.figures("synthetic")
    names = set(NAMES)
    assert {p.name for p in folder.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg", "csv", "json")
    }
    for name in names:
        with Image.open(folder / f"{name}.png") as picture:
            width, dpi = picture.size[0], picture.info["dpi"][0]
        assert 200 <= dpi <= 300 and width / dpi == pytest.approx(figures.PAGE, abs=0.02)
        about = json.loads((folder / f"{name}.json").read_text())
        assert about["figure"] == name and about["study"] == "synthetic"
        assert set(about["inputs"]) == {"code", "tables"}
        assert len(pd.read_csv(folder / f"{name}.csv")) > 10
        assert b"<dc:date>" not in (folder / f"{name}.svg").read_bytes()


def test_notebooks_show_a_picture_with_words_and_a_table(shown: dict) -> None:
    for name, values in shown.items():
        _, about = next(v for v in values if hasattr(v, "alt"))._repr_mimebundle_()
        assert len(about["image/png"]["alt"]) > 60, name
        tables = [v for v in values if hasattr(v, "as_text")]
        assert tables and all("cluster" in table.as_text() for table in tables)
        assert not re.search(r"\bnan\b|None|not defined|[{}]", texts(values)), name


def test_the_same_tables_give_the_same_bytes(home: Path, shown: dict) -> None:
    folder = paths.figures("synthetic")
    before = {p.name: p.read_bytes() for p in folder.iterdir() if "figure_4" in p.name}
    run_notebook("figure_4_benchmarks")
    assert {p.name: p.read_bytes() for p in folder.iterdir() if "figure_4" in p.name} == before
    assert len(before) == 4


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
    assert before != figures.inputs(study, ["verdicts"], "figure_3_evaluators")
    assert before["tables"] == figures.inputs(study, ["verdicts"], "figure_3_evaluators")["tables"]
    assert before["tables"] != figures.inputs(study, ["replies"], NAMES[0])["tables"]
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(study, RISE, seed=1)
    assert figures.inputs(study, ["verdicts"], NAMES[0])["tables"] != before["tables"]


# ---- what is said


def test_a_null_is_read_as_a_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.study()
    synthetic.write(study, {}, start=0)
    for unit in study.units():  # nothing is ever called harmful, or complied with
        file = paths.table(study.name, "verdicts", unit)
        frame, about = records.read(file, "verdicts"), records.metadata(file)
        records.write(file, "verdicts", frame.assign(label=False), {"runs": about["runs"]})
    shown = {name: texts(run_notebook(name)) for name in NAMES}
    assert "say that harm rises, 0 that it falls, 6 are unclear" in shown[NAMES[0]]
    for text in shown.values():
        assert not re.search(r"\bnan\b|None|\binf\b", text)


def test_a_single_run_is_drawn_and_said_to_be_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.study(
        models=["micro-llama-s"], tasks=["yes_no"], lora=["r4-low"], seeds=[0],
        benchmarks={"questions": 5},
    )  # fmt: skip
    synthetic.write(study)
    for name in NAMES:
        shown = run_notebook(name)
        text = texts(shown) + "".join(one for one in shown if isinstance(one, str))
        assert "ewer than two runs" in text or "too few runs" in text, name
        assert (paths.figures("synthetic") / f"{name}.png").stat().st_size > 5000
        assert not re.search(r"\bnan\b|None|\binf\b", text)


def test_unknown_names_are_refused_in_one_line(study: Study) -> None:
    for call in (
        lambda: benchmarks.main_model(study, "nothing"),
        lambda: benchmarks.measure(study, "nothing"),
    ):
        with pytest.raises(GroundedError) as error:
            call()
        assert "found 'no" in str(error.value) and "\n" not in str(error.value)


def test_defaults_follow_the_study(study: Study) -> None:
    assert benchmarks.main_model(study) == "micro-llama-l"
    other = synthetic.study(models=["micro-llama-s"], tasks=["yes_no"])
    assert benchmarks.main_model(other) == "micro-llama-s"


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
