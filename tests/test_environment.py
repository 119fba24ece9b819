"""One lock, and everything that must follow from it."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workflow import install, lock

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = [Requirement(pin) for pin in lock.pins(LOCK)]
DIRECT = [Requirement(pin) for pin in lock.pins((ROOT / "requirements.in").read_text())]
# what a package is imported as, where that is not its name
IMPORTED = {
    "markdown-it-py": "markdown_it",
    "vl-convert-python": "vl_convert",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
    "pytest-xdist": "xdist",
}


def test_conda_environment_is_the_lock() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert [entry for entry in listed if isinstance(entry, dict)] == [{"pip": lock.pins(LOCK)}]
    assert (ROOT / "environment.yml").read_text() == lock.environment(LOCK)


def test_lock_pins_exactly_and_names_no_place() -> None:
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in PINS)
    assert not [pin for pin in PINS if pin.url or "+" in str(pin.specifier)]
    assert "://" not in LOCK and "-e " not in LOCK


def test_lock_leaves_gpu_libraries_to_the_installer() -> None:
    assert not [pin.name for pin in PINS if pin.name.startswith(("nvidia", "cuda", "triton"))]


def test_direct_dependencies_are_in_the_lock_as_written() -> None:
    locked = {canonicalize_name(pin.name): str(pin.specifier) for pin in PINS}
    assert {
        pin.name: locked.get(canonicalize_name(pin.name)) for pin in DIRECT
    } == {pin.name: str(pin.specifier) for pin in DIRECT}  # fmt: skip


def test_installed_versions_are_the_locked_ones() -> None:
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(importlib.metadata.version(pin.name)), pin


def test_every_import_is_a_direct_dependency() -> None:
    direct = {canonicalize_name(pin.name) for pin in DIRECT}
    known = {IMPORTED.get(name, name.replace("-", "_")) for name in direct}
    known |= {"grounded", "workflow", *sys.stdlib_module_names}
    known |= {file.stem for file in (ROOT / "tests").iterdir()}
    known |= {
        "IPython",
        "PIL",
        "packaging",
        "pydantic_core",
        "requests",
        "traitlets",
    }  # come with those
    found = {
        name.split(".")[0]: file.name
        for folder in ("lib", "tests")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in _names(node)
    }
    assert not {name: file for name, file in found.items() if name not in known}


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


@pytest.fixture
def half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose .venv has a Python and a stamp, and installs that only pretend."""
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    venv = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
        "STAMP": venv / "complete",
        "LOG": tmp_path / ".cache" / "install.log",
    }.items():
        monkeypatch.setattr(install, name, value)
    (venv / "bin").mkdir(parents=True)
    install.PYTHON.touch()
    (venv / "left over").touch()
    install.LOG.parent.mkdir()
    return venv


def _pretend(monkeypatch: pytest.MonkeyPatch, fails: str = "") -> list[str]:
    """Commands are noted, and succeed unless they hold `fails`; making a venv makes a Python."""
    commands: list[str] = []

    def run(*command: object) -> bool:
        commands.append(" ".join(map(str, command)))
        if "venv" in command:
            (install.VENV / "bin").mkdir(parents=True)
            install.PYTHON.touch()
        install.LOG.touch()
        return not (fails and fails in commands[-1])

    monkeypatch.setattr(install, "run", run)
    return commands


def test_setup_begins_again_where_it_was_cut_off(
    half_made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = _pretend(monkeypatch)
    assert install.main() == 0
    assert "-m venv" in commands[0] and not (half_made / "left over").exists()
    assert install.complete()
    commands.clear()
    assert install.main() == 0 and not commands  # nothing to do


def test_setup_follows_the_lock_without_beginning_again(
    half_made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.STAMP.write_text("what it held before")
    commands = _pretend(monkeypatch)
    assert install.main() == 0 and install.complete()
    assert (half_made / "left over").exists() and "-m venv" not in " ".join(commands)


def test_torch_falls_back_to_the_plain_pin(
    half_made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = _pretend(monkeypatch, fails="--torch-backend=auto")
    assert install.main() == 0
    torch = [command for command in commands if "install torch==" in command or "auto" in command]
    assert ["uv pip install --torch-backend=auto" in c for c in torch] == [True, False]


def test_failed_setup_is_one_line_and_not_complete(
    half_made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pretend(monkeypatch, fails="-r requirements.lock")
    assert install.main() == 1 and not install.complete()
    assert capsys.readouterr().out.splitlines()[-1].startswith("set-up failed: could not install")


@pytest.mark.parametrize(
    ("folder", "codeset", "told"),
    [
        ("/a/plain folder", "ANSI_X3.4-1968", None),
        ("/a/ünï", "UTF-8", None),
        ("/a/ünï", "ANSI_X3.4-1968", "letters outside ASCII under a locale of ANSI_X3.4-1968"),
        ("/a/b:c", "UTF-8", "found ':' in the folder's name"),
    ],
)
def test_a_folder_in_which_nothing_works_is_refused_before_installing(
    folder: str, codeset: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.locale, "nl_langinfo", lambda _: codeset)
    found = install.misplaced(folder)
    assert found is None if told is None else told in str(found)


@pytest.mark.parametrize(("given", "used"), [("C", "C.UTF-8"), ("C.UTF-8", "C.UTF-8")])
def test_make_runs_in_a_locale_of_utf_8(given: str, used: str) -> None:
    command = ["make", "--no-print-directory", "--eval", "told:; @echo $$LC_ALL", "told"]
    environment = os.environ | {"LC_ALL": given}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.stdout.strip() == used
