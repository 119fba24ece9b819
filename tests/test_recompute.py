"""Numbers of figures 1 to 4, the claims, the registered test, mitigations: held to other scripts.

`recompute.py` and `recompute_goal.py` share no line with the library or the notebooks. Here they
run on planted tables, and on those of `micro` where its figures were drawn from these.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import synthetic
from pages import run_notebook
from test_anchoring_help import ARMS, LORA, RISE

from grounded import paths, save
from grounded.errors import GroundedError
from grounded.study import load

HERE = Path(__file__).parent
SCRIPTS = ("recompute.py", "recompute_goal.py")
FIGURES = ("figure_1_epochs", "figure_2_judgments", "figure_3_evaluators", "figure_4_benchmarks",
           "the_claims", "does_anchoring_help", "mitigations_at_equal_capability")  # fmt: skip
ASKED = {"metric": "format_free", "kappa": 0.5, "tolerance": 0.1, "every": 4, "goals": "goals.csv",
         "judge": "harm", "mitigations": "mitigations"}  # fmt: skip


def recomputed(study: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, HERE / SCRIPTS[-1], study, home], capture_output=True, text=True,
        check=False, cwd=HERE,
    )  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_short_and_its_own(name: str) -> None:
    source = (HERE / name).read_text()
    assert len(source.splitlines()) <= 150
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for alias in (node.names if isinstance(node, ast.Import) else [])
    } | {
        str(node.module).split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
    }
    assert imported <= {"json", "sys", "pathlib", "numpy", "pandas", "statsmodels", "yaml",
                        "recompute"}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(folder))
        study = synthetic.study(anchoring=ASKED, arms=ARMS, lora=LORA, test_items=80)
        synthetic.write(study, RISE)
        for name in FIGURES:
            given: dict[str, Any] = {"worlds": 20} if name == "does_anchoring_help" else {}
            run_notebook(name, **given)
        yield folder


def test_planted_tables_give_the_same_numbers(home: Path) -> None:
    done = recomputed("synthetic", home)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()
    assert len(said) == 12 and all(line.endswith("numbers agree") for line in said)
    assert sum(int(line.split()[-3]) for line in said) > 200


@pytest.mark.parametrize(
    ("figure", "table", "column"),
    [
        ("figure_4_benchmarks", "changes", "change"),
        ("does_anchoring_help", "ratios", "high"),
        ("mitigations_at_equal_capability", "against_controls", "low"),
    ],
)
def test_a_number_that_is_off_is_found(home: Path, figure: str, table: str, column: str) -> None:
    file = home / "figures" / "synthetic" / f"{figure}.json"
    text = file.read_text()
    kept = json.loads(text)
    for row in kept["statistics"][table]:
        row[column] = row[column] and 1.001 * row[column]
    file.write_text(json.dumps(kept))
    done = recomputed("synthetic", home)
    file.write_text(text)
    assert done.returncode != 0 and figure in done.stderr and column in done.stderr


@pytest.mark.slow
def test_the_committed_figures_are_those_of_the_committed_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of `micro`, once its figures are drawn from the tables that are there."""
    monkeypatch.delenv("GROUNDED_HOME", raising=False)
    kept = json.loads((paths.figures("micro") / "figure_1_epochs.json").read_text())["inputs"]
    try:
        own = save.inputs(load("micro"), ["verdicts", "capability"], "figure_1_epochs")
    except GroundedError as error:
        pytest.skip(f"micro is being made anew: {error}")
    if kept["tables"] != own["tables"]:
        pytest.skip("figures/micro was drawn from other tables: make figures")
    done = recomputed("micro", paths.repository())
    assert done.returncode == 0, done.stderr[-2000:]
