"""What every committed notebook must be: prose first, short cells, fit to read on GitHub."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.stages.plan import NOTEBOOKS
from workflow import badges, colab, notebooks

ALL = sorted((paths.repository() / "notebooks").glob("*.ipynb"))
PARAMETER = re.compile(r"\w+: (str|int|float|bool|list\[\w+\]) = .+  # \S.*")
# a path from the root of somebody's machine
PLACE = re.compile(r"""(?<![\w.:/<])/(?:root|home|Users|tmp|work|opt|var|private)/\w""")
IMAGES = ("image/png", "image/svg+xml", "image/jpeg")


@pytest.fixture(params=ALL, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in _code(notebook) for output in cell.outputs]


def test_no_output_says_where_an_object_lay_in_memory(notebook: nbformat.NotebookNode) -> None:
    assert not [one for one in _outputs(notebook) if re.search(r" at 0x[0-9a-f]+", str(one))]


def test_every_stage_has_its_notebook_and_figures_follow() -> None:
    assert set(NOTEBOOKS.values()) <= {path.stem for path in ALL}
    assert len(notebooks.figure_notebooks()) == 13


FIGURES = notebooks.figure_notebooks()
STAGES_OF_A_FIGURE = {"groupby": "the rate", "fit": "the regression"}
THEME = {"move_legend", "set_theme", "despine"}  # seaborn's calls that draw nothing


def calls(source: str) -> list[ast.Attribute]:
    """What is called on something (`x.name(...)`), in the parsed code and not in its text."""
    found = (n.func for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call))
    return [func for func in found if isinstance(func, ast.Attribute)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_notebook_shows_its_rate_its_formula_and_its_plot(name: str) -> None:
    source = "\n".join(fingerprint.cells(paths.notebook(name)))
    called = calls(source)
    names = {func.attr for func in called}
    assert not [what for call, what in STAGES_OF_A_FIGURE.items() if call not in names]
    drawn = {f.attr for f in called if isinstance(f.value, ast.Name) and f.value.id == "sns"}
    assert drawn - THEME
    assert paths.notebook(name).stat().st_size < 500_000


def test_a_cell_is_read_at_a_glance(notebook: nbformat.NotebookNode) -> None:
    assert max(len(cell.source.split("\n")) for cell in _code(notebook)) <= 25


@pytest.mark.parametrize(
    ("source", "found"),
    [("d.groupby('run')", ["groupby"]), ("'d.groupby(run)'  # .fit()", []), ("d.fit", [])],
)
def test_a_call_is_told_from_its_text(source: str, found: list[str]) -> None:
    assert [func.attr for func in calls(source)] == found


def test_is_valid_and_begins_with_prose(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    prose = [c.source for c in notebook.cells[:2] if c.cell_type == "markdown"]
    assert prose[0].startswith("# ")


def test_is_small_enough_to_be_shown(path: Path) -> None:
    assert path.stat().st_size < notebooks.LARGEST


def test_has_one_cell_of_typed_parameters_with_help(notebook: nbformat.NotebookNode) -> None:
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = tagged[0].source.splitlines()
    assert lines[0].startswith("study: str") or "study: str" in tagged[0].source
    assert not [line for line in lines if line and not PARAMETER.fullmatch(line)]


def test_holds_neither_errors_nor_widgets(notebook: nbformat.NotebookNode) -> None:
    assert "widgets" not in notebook.metadata
    assert not [o for o in _outputs(notebook) if o.output_type == "error"]
    kinds = [kind for output in _outputs(notebook) for kind in output.get("data", {})]
    assert not [kind for kind in kinds if "widget" in kind or "javascript" in kind]


def test_every_picture_says_in_words_what_it_shows(notebook: nbformat.NotebookNode) -> None:
    for output in _outputs(notebook):
        for kind in set(IMAGES) & set(output.get("data", {})):
            assert _alt(output, kind), f"a picture ({kind}) without words"
        assert not re.search(
            r"<img(?![^>]*\balt=\"[^\"]+\")", output.get("data", {}).get("text/html", "")
        )
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "![](" not in prose and not re.search(r"<img(?![^>]*\balt=)", prose)


def _alt(output: nbformat.NotebookNode, kind: str) -> Any:
    metadata = output.metadata
    return metadata.get("alt") or metadata.get(kind, {}).get("alt")


def test_shows_only_what_github_shows(notebook: nbformat.NotebookNode) -> None:
    kinds = {kind for output in _outputs(notebook) for kind in output.get("data", {})}
    assert kinds <= {"text/plain", "text/html", "text/markdown", "text/latex", "image/png"}
    html = "".join(o.get("data", {}).get("text/html", "") for o in _outputs(notebook))
    assert not re.search(r"<(script|iframe|style src|link)", html)


def test_relative_links_lead_somewhere(path: Path, notebook: nbformat.NotebookNode) -> None:
    prose = "".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#\s]+)", prose):
        if not target.startswith(("http:", "https:")):
            assert (path.parent / target).exists(), target


def test_is_spelled_right(notebook: nbformat.NotebookNode, tmp_path: Path) -> None:
    prose = tmp_path / "prose.md"
    prose.write_text("".join(c.source for c in notebook.cells if c.cell_type == "markdown"))
    config = str(paths.repository() / "pyproject.toml")
    command = [sys.executable, "-m", "codespell_lib", "--toml", config, str(prose)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_badges_are_hidden_until_an_address_is_known_and_count_in_nothing(
    path: Path, notebook: nbformat.NotebookNode
) -> None:
    if path.stem in NOTEBOOKS.values():
        pytest.skip("a stage is no page to open by itself")
    bare, before = nbformat.writes(notebook), notebooks.code_sha(notebook)
    assert not notebook.cells[0].source.startswith("[![")
    badges.stamp(notebook, path.stem, "ann/study", "v1")
    links = re.findall(r"\)\]\((https://[^)]*)\)", notebook.cells[0].source)
    assert links and all("ann/study" in link and "v1" in link for link in links)
    assert all(link.endswith(path.name) for link in links)
    assert '"--branch", "v1"' in notebook.cells[2].source + notebook.cells[3].source
    assert notebooks.code_sha(notebook) == before
    badges.stamp(notebook, path.stem, "", "v0.1.0")
    assert nbformat.writes(notebook) == bare


def test_an_address_that_is_none_is_one_line() -> None:
    line = "^REPOSITORY: found 'https://somewhere', wanted owner/name$"
    with pytest.raises(GroundedError, match=line):
        badges.stamp_all("https://somewhere", "v1")


SETUP = "setup"  # the tag of the cell that does something on Colab alone


def test_the_set_up_cell_does_nothing_here(
    notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [c.source for c in notebook.cells if SETUP in c.metadata.get("tags", [])]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("ran something"))
    place, found = Path.cwd(), list(sys.path)
    for cell in cells:
        exec(cell, {})
    assert (Path.cwd(), sys.path) == (place, found)


def test_the_set_up_cell_does_on_colab_what_it_says(
    notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    monkeypatch.setattr(os, "chdir", lambda place: ran.append(["cd", place]))
    monkeypatch.setattr(sys, "path", list(sys.path))
    cells = [c.source for c in notebook.cells if SETUP in c.metadata.get("tags", [])]
    for cell in cells:
        exec(cell, {})
        assert [command[0] for command in ran] == ["git", sys.executable, "cd"]
        assert ran[0][4] == "v0.1.0" and ran[1][1].endswith("lib/workflow/colab.py")
        assert sys.path[0] == "/content/grounded/lib"


def test_colab_keeps_its_torch() -> None:
    pins = colab.wanted((paths.repository() / "requirements.lock").read_text())
    names = {pin.split("==")[0] for pin in pins}
    assert {"transformers", "peft", "trl", "papermill", "seaborn", "statsmodels"} <= names
    assert not [name for name in names if name.startswith(("torch", "nvidia", "triton", "pytest"))]
    assert colab.wanted("# a\ntorch==1\npeft==2\n") == ["peft==2"]


def test_names_no_place_on_a_machine(path: Path) -> None:
    assert not PLACE.findall(json.dumps(json.loads(path.read_text()), ensure_ascii=False))


def test_was_executed_in_order_without_leftovers(notebook: nbformat.NotebookNode) -> None:
    assert [c.execution_count for c in _code(notebook)] == [*range(1, len(_code(notebook)) + 1)]
    extra = [cell.metadata.keys() - {"tags"} for cell in notebook.cells]
    assert not any(extra)


def test_shows_the_committed_code_run_on_the_committed_tables(
    notebook: nbformat.NotebookNode,
) -> None:
    made_from = notebook.metadata["grounded"]
    assert made_from["code"] == notebooks.code_sha(notebook)
    assert made_from["data"] == fingerprint.results(made_from["study"])


@pytest.mark.parametrize(
    ("text", "is_place"),
    [("/home/ann/x.py", True), ("data/home/x", False), ("https://a.b/home/c", False)],
)
def test_places_are_told_from_other_slashes(text: str, is_place: bool) -> None:
    assert bool(PLACE.search(f'see "{text}"')) is is_place
