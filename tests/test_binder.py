"""Binder: what it installs is of the lock, and enough for the notebooks that it offers."""

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from grounded import fingerprint
from workflow import lock

ROOT = Path(__file__).resolve().parents[1]
PINS = lock.pins((ROOT / lock.BINDER).read_text())
MEMORY = 2 * 1024**2  # KiB: what Binder gives
NEED_TORCH = {"quickstart", "quickstart_invented", "01_base_models"}
OFFERED = sorted({p.stem for p in (ROOT / "notebooks").glob("*.ipynb")} - NEED_TORCH)
PROGRAM = """
import json, resource, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
assert "torch" not in sys.modules
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_pins_are_those_of_the_lock_without_torch() -> None:
    locked = {pin.split(" ;")[0] for pin in lock.pins((ROOT / "requirements.lock").read_text())}
    assert {pin.split(" ;")[0] for pin in PINS} <= locked
    names = {pin.split("==")[0] for pin in PINS}
    assert {name.lower() for name in lock.READING} <= names
    assert not names & {"torch", "transformers", "peft", "trl", "snakemake", "papermill"}


def imported(source: str) -> set[str]:
    """What a module imports when it is imported: not what waits in functions, or is for types."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_library_that_the_pages_import_is_there() -> None:
    pages = [ROOT / "notebooks" / f"{name}.ipynb" for name in OFFERED]
    todo = {name for page in pages for cell in fingerprint.cells(page) for name in imported(cell)}
    seen: set[str] = set()
    while todo - seen:
        name = (todo - seen).pop()
        seen.add(name)
        place = ROOT / "lib" / name.replace(".", "/")
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                todo |= imported(file.read_text(encoding="utf-8"))
    libraries = {name.split(".")[0] for name in seen} - set(sys.stdlib_module_names)
    libraries -= {"grounded", "workflow"}
    of = packages_distributions()
    pinned = {pin.split("==")[0].lower() for pin in PINS}
    assert {"seaborn", "statsmodels", "markdown_it"} <= libraries
    dists = {one: {d.lower().replace("_", "-") for d in of[one]} for one in libraries}
    assert not {one for one, names in dists.items() if not names & pinned}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with Binder's packages and nothing else."""
    venv = tmp_path_factory.mktemp("binder") / "venv"
    made = venv / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", str(venv)], check=True)
    install = [
        *uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        str(made),
        "-r",
        str(ROOT / lock.BINDER),
    ]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Binder's packages cannot be had here: {done.stderr.strip()[-200:]}")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFERED)
def test_notebook_runs_in_the_memory_that_binder_gives(
    name: str, python: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")  # figures are drawn anew, elsewhere
    shutil.copytree(ROOT / "figures", tmp_path / "figures")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "lib"), "GROUNDED_HOME": str(tmp_path)}
    done = subprocess.run(
        [str(python), "-c", PROGRAM, str(ROOT / "notebooks" / f"{name}.ipynb")],
        env=environment, cwd=tmp_path, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < MEMORY


def test_library_is_found_where_it_lies(tmp_path: Path) -> None:
    start = ROOT / ".binder" / "start"
    asked = "import json, os; print(json.dumps(os.environ['PYTHONPATH']))"
    done = subprocess.run(
        [str(start), sys.executable, "-c", asked], cwd=ROOT, text=True, capture_output=True
    )
    assert json.loads(done.stdout) == str(ROOT / "lib")
