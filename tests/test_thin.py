"""The library holds what notebooks would repeat, and no more; a reader meets a fit where it is."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grounded import fingerprint, paths
from workflow.notebooks import figure_notebooks

LIB = paths.repository() / "lib"
# Lines of lib/, what is of real models (public) left out. More of them need a reason: the last 360
# read and draw a study that is measured in part, measure capability on the way, fix goals on seeds
# of their own, vouch for runs where code was only put in order, end every command in lines,
# keep a figure's files the same where a last bit differs, give a task of long examples device
# batches of its own, teach a judge that misses its bar anew, say methods in words, and
# know a refusal in stock words.
MOST = 13_935
DEEPEST = 2  # functions of ours between a cell and the `.fit` of a library


def test_the_library_is_thin() -> None:
    own = [file for file in LIB.rglob("*.py") if "public" not in file.relative_to(LIB).parts]
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in own)
    assert len(own) > 50 and lines <= MOST


def fits(node: ast.AST) -> bool:
    """Whether `.fit(...)` is called on something in this code."""
    called = (n.func for n in ast.walk(node) if isinstance(n, ast.Call))
    return any(isinstance(func, ast.Attribute) and func.attr == "fit" for func in called)


def depth(source: str) -> int:
    """How many functions of the source stand between its own lines and a `.fit`, at most."""
    functions = {n.name: n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}

    def below(name: str, above: frozenset[str] = frozenset()) -> int:
        own = functions[name]
        named = {n.id for n in ast.walk(own) if isinstance(n, ast.Name)} & functions.keys()
        deeper = [below(n, above | {name}) for n in named - above - {name}]
        return 1 + max(deeper) if max(deeper, default=0) else int(fits(own))

    return max(map(below, functions), default=0)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("ols(f).fit()", 0),
        ("def a():\n    return m.fit()\na()", 1),
        ("def a():\n    return m.fit()\ndef b():\n    return a()\ndef c(x):\n    return x", 2),
        ("def a(n):\n    return c(n) or a(n)\ndef b():\n    return [a]\ndef c(n):\n    m.fit()", 3),
        ("fit()\ndef a():\n    return '.fit()'", 0),
    ],
)
def test_depth_counts_functions_around_a_fit(source: str, wanted: int) -> None:
    assert depth(source) == wanted


@pytest.mark.parametrize("name", figure_notebooks())
def test_a_reader_of_a_figure_meets_its_regression_in_the_notebook(name: str) -> None:
    source = "\n".join(fingerprint.cells(paths.notebook(name)))
    assert fits(ast.parse(source))
    assert depth(source) <= DEEPEST
    for module in fingerprint.modules(*fingerprint.imports(source)):
        file = LIB.joinpath(*module.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        assert not fits(ast.parse(file.read_text(encoding="utf-8"))), f"{module} hides a fit"


def test_a_study_is_read_without_what_it_configures() -> None:
    heavy = ("numpy", "scipy", "pandas", "torch", "statsmodels", "pyarrow")
    code = (
        "import sys; from grounded.study import load; load('micro')\n"
        "own = ('grounded.study', 'grounded.errors', 'grounded.paths')\n"
        "print(*(m for m in sys.modules if m.startswith('grounded.') and not m.startswith(own)),\n"
        f"      *(m for m in {heavy} if m in sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=paths.repository(), env={**os.environ, "GROUNDED_HOME": "", "PYTHONPATH": str(LIB)},
    )  # fmt: skip
    assert found.stdout.split() == []


def loads() -> list[tuple[str, set[str]]]:
    """Where transformers loads something, in lib/ and notebooks/, and what it is told."""
    sources = {str(file): file.read_text(encoding="utf-8") for file in LIB.rglob("*.py")}
    for file in (paths.repository() / "notebooks").glob("*.ipynb"):
        sources |= {f"{file.name} {n}": cell for n, cell in enumerate(code_cells(file))}
    calls = [
        (where, node)
        for where, source in sources.items()
        if "from_pretrained" in source
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".from_pretrained")
    ]
    of_peft = ("PeftModel", "PeftConfig", "LoraConfig")  # tensors and a JSON file: no code to run
    return [
        (f"{where}: {ast.unparse(node.func)}", {ast.unparse(word) for word in node.keywords})
        for where, node in calls
        if ast.unparse(node.func).split(".")[0] not in of_peft
    ]


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_nothing_that_is_loaded_runs_code_of_its_own() -> None:
    found = loads()
    assert len(found) > 8
    for where, told in found:
        assert "trust_remote_code=False" in told, where
        of_gguf = any(word.startswith("gguf_file=") for word in told)
        if "Tokenizer" not in where and not of_gguf:
            assert "use_safetensors=True" in told, where
