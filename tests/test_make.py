"""A tiny study through the real `make`: from nothing, killed and resumed, and made again."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

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


def _make(home: Path, target: str) -> str:
    environment = os.environ | {"GROUNDED_HOME": str(home)}
    done = subprocess.run(
        [*MAKE, target], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def _kill_after(home: Path, words: str) -> None:
    """Begin `make figures`, and kill -9 it as soon as a line holds `words`, a pattern."""
    environment = os.environ | {"GROUNDED_HOME": str(home)}
    make = subprocess.Popen(
        [*MAKE, "figures"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert make.stdout is not None
    said = next((line for line in make.stdout if re.search(words, line)), None)
    os.killpg(make.pid, signal.SIGKILL)
    make.wait()
    assert said, f"never said {words!r}"


def test_a_study_is_made_resumed_after_kill_9_and_reproduced(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _study(whole)
    assert "left: nothing" in _make(whole, "figures")
    drawn = {path.suffix for path in (whole / "figures" / "tiny").iterdir() if path.is_file()}
    assert drawn == {".png", ".svg", ".csv", ".json", ".html", ".md"}
    assert "tiny: all is there and current" in _make(whole, "figures")

    _study(killed)
    for made in ("models", "judges"):  # so that the kill comes among the stages with runs
        shutil.copytree(whole / "data" / "tiny" / made, killed / "data" / "tiny" / made)
    # its line when it is done; where it takes over a minute, its bar begins with the same words
    _kill_after(killed, r"finetune micro-llama-s-yes_no: \d+ s;")
    # finished runs are kept, with their adapters; the base model's unit may not have been done
    assert "finetune micro-llama-s-yes_no" not in _make(killed, "figures")
    report = compare.folders(whole / "data", killed / "data")
    assert report.same > 10
    assert not (report.different or report.missing or report.new)

    said = _make(whole, "reproduce").splitlines()
    same = re.compile(r"(\d+) of \1 files are the same, byte for byte")
    assert any(map(same.fullmatch, said)), said
