"""A study on a real Slurm of two nodes: the same bytes as here, whatever is killed on the way."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import slurm_lab

from workflow import compare

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lab")
    before = {process.pid for process in psutil.process_iter()}
    with slurm_lab.cluster(folder) as found:
        yield found
    names = ("slurmctld", "slurmd", "slurmstepd", "munged", "snakemake")
    new = [p for p in psutil.process_iter() if p.pid not in before and slurm_lab.alive(p.pid)]
    left = [process.name() for process in new if process.name() in names]
    assert not left, f"still running: {left}"


def study(home: Path) -> None:
    text = (ROOT / "tests" / "studies" / "tiny" / "study.yaml").read_text()
    text = re.sub(r"(?m)^minimum_mass: .*", "minimum_mass: 0.0", text)
    text += "\nresources:\n  finetune: {gpus: 1, memory_mb: 2000, minutes: 20}\n"
    (home / "data" / "tiny").mkdir(parents=True)
    (home / "data" / "tiny" / "study.yaml").write_text(text)


def make(home: Path, *more: str) -> subprocess.Popen[str]:
    command = [str(ROOT / ".venv/bin/python"), "-m", "workflow", "figures", "tiny", *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"GROUNDED_HOME": str(home)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def queue(state: str) -> list[str]:
    return slurm_lab.run("squeue", "-h", "-t", state, "-o", "%i").split()


def test_the_same_bytes_as_here_whatever_is_killed(profile: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for home in (here, there):
        study(home)
    local = make(here, "--jobs", "2")
    said, _ = local.communicate()
    assert local.returncode == 0, said

    # the head dies with jobs running and queued
    first = make(there, "--jobs", "1", "--profile", str(profile))
    assert first.stdout is not None
    begun = next((line for line in first.stdout if "base_models" in line and "left:" in line), None)
    assert begun, first.communicate()[0]
    slurm_lab.until(lambda: len(queue("R")) > 0, 120)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()

    # and of the next one a job dies on its node
    second = make(there, "--jobs", "1", "--profile", str(profile))
    slurm_lab.until(lambda: bool(_working(there, "finetune")), 240)
    _working(there, "finetune")[0].kill()
    said, _ = second.communicate()
    assert second.returncode == 0, said
    assert said.splitlines()[-1].startswith("figures: done")
    for part in ("data", "figures"):
        report = compare.folders(here / part, there / part)
        assert report.same > 10 and not (report.different or report.missing or report.new)
    shutil.rmtree(there / ".cache")


def _working(home: Path, stage: str) -> list[psutil.Process]:
    """The processes on the nodes that run a job of a stage."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "workflow.run_notebook" in line and str(home) in " ".join(line):
            if line[-1].startswith(f"{stage}/"):
                found.append(process)
    return found


def test_a_job_sees_the_gpu_that_slurm_gave_it(profile: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "job.sh"
    script.write_text(f'#!/bin/sh\necho "[$CUDA_VISIBLE_DEVICES]" > {told}\n')
    slurm_lab.run("sbatch", "--wait", "--gpus=1", "--output=/dev/null", str(script))
    assert told.read_text().strip() == "[0]"
