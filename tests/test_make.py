"""A tiny study through the real `make`: from nothing, killed and resumed, and made again."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from workflow import compare

ROOT = Path(__file__).resolve().parents[1]
MAKE = ["make", "--no-print-directory", "STUDY=tiny", "JOBS=2"]


def _study(home: Path) -> None:
    """The tiny study with one task, in a folder of its own; its judges may be poor ones."""
    text = (ROOT / "tests" / "studies" / "tiny" / "study.yaml").read_text()
    text = re.sub(r"(?m)^tasks: .*", "tasks: [yes_no]", text)
    text = re.sub(r"(?m)^minimum_mass: .*", "minimum_mass: 0.0", text)
    (home / "data" / "tiny").mkdir(parents=True)
    (home / "data" / "tiny" / "study.yaml").write_text(text)
    # without a mirror and a network, the figure of public data stays as it is committed
    (home / "figures" / "tiny").mkdir(parents=True)
    for file in (ROOT / "figures" / "micro").glob("figure_5_*"):
        shutil.copy(file, home / "figures" / "tiny")


def _make(home: Path, target: str) -> str:
    environment = os.environ | {"GROUNDED_HOME": str(home)}
    done = subprocess.run(
        [*MAKE, target], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def _kill_after(home: Path, words: str) -> None:
    """Begin `make figures`, and kill -9 it as soon as it has said `words`."""
    environment = os.environ | {"GROUNDED_HOME": str(home)}
    make = subprocess.Popen(
        [*MAKE, "figures"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert make.stdout is not None
    said = next((line for line in make.stdout if words in line), None)
    os.killpg(make.pid, signal.SIGKILL)
    make.wait()
    assert said, f"never said {words!r}"


@pytest.mark.slow
def test_killed_make_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _study(whole)
    said = _make(whole, "figures")
    assert "left: nothing" in said
    assert "tiny: all is there and current" in _make(whole, "figures")

    _study(killed)
    for made in ("models", "judges"):  # so that the kill comes among the stages with runs
        shutil.copytree(whole / "data" / "tiny" / made, killed / "data" / "tiny" / made)
    _kill_after(killed, "finetune micro-llama-s-yes_no:")
    said = _make(killed, "figures")
    assert "finetune" not in said  # what was finished is kept, with its adapters
    report = compare.folders(whole / "data", killed / "data")
    assert report.same > 10
    assert not (report.different or report.missing or report.new)


@pytest.mark.slow
def test_study_reproduces_itself(tmp_path: Path) -> None:
    _study(tmp_path)
    _make(tmp_path, "models")
    _make(tmp_path, "figures")
    said = _make(tmp_path, "reproduce").splitlines()
    assert any(
        re.fullmatch(r"(\d+) of \1 files are the same, byte for byte", line) for line in said
    )
