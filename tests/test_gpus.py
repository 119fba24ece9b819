"""One GPU a job: held by locks, across processes, studies and kills."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grounded.errors import GroundedError
from grounded.study import StudyError
from workflow import gpus, graph, jobs
from workflow.jobs import Job

HOLD = """
import sys
from pathlib import Path
from workflow import gpus
with gpus.lease(1, Path(sys.argv[1])) as mine:
    print(*mine, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "4,7")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def holder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("freed", ["4", "7"])
def test_two_jobs_never_hold_one_gpu_and_a_third_takes_the_first_that_is_free(
    tmp_path: Path, freed: str
) -> None:
    holders: dict[str, subprocess.Popen[str]] = {}
    for process in (holder(tmp_path), holder(tmp_path)):
        assert process.stdout
        holders[process.stdout.readline().strip()] = process
    assert holders.keys() == {"4", "7"}
    third = holder(tmp_path)
    assert third.stdout
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(1.5)  # it waits, and says nothing
    gone = holders.pop(freed)
    gone.kill()  # the operating system takes the lock back
    gone.wait()
    assert third.stdout.readline().strip() == freed
    for process in (third, *holders.values()):
        process.communicate("\n")
        assert process.returncode == 0


def test_children_see_the_gpus_that_are_held_and_no_others(tmp_path: Path) -> None:
    with gpus.lease(1, tmp_path) as mine:
        assert os.environ[gpus.VISIBLE] == mine[0] == "4"
        with gpus.lease(1, tmp_path / "other"):
            assert os.environ[gpus.VISIBLE] == "4"  # a lease within a lease sees no more
    assert os.environ[gpus.VISIBLE] == "4,7"
    with gpus.lease(2, tmp_path) as both:
        assert both == ["4", "7"]
    with pytest.raises(GroundedError, match="^GPUs: found 2, wanted 3 for one job$"):
        with gpus.lease(3, tmp_path):
            pass


def test_slurm_and_a_machine_without_gpus_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "locks"
    with gpus.lease(0, folder):
        assert os.environ[gpus.VISIBLE] == "4,7"
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with gpus.lease(1, folder):
        assert os.environ[gpus.VISIBLE] == "4,7"
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv(gpus.VISIBLE, "")
    with gpus.lease(1, folder) as none:
        assert none == []
    assert not folder.exists()


def test_gpus_are_those_that_the_driver_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(gpus.VISIBLE)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpus.visible() == ["0", "1", "2"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpus.visible() == []


def test_a_profile_is_one_of_ours_or_a_folder_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert graph.profile("slurm").name == "slurm"
    (tmp_path / "config.yaml").write_text("executor: slurm\n")
    assert graph.profile(str(tmp_path)) == tmp_path.resolve()
    with pytest.raises(GroundedError, match="found no config.yaml in nothing, wanted one of slurm"):
        graph.profile("nothing")
    monkeypatch.delenv(graph.PROFILE, raising=False)
    here = graph._snakemake(tmp_path, 4)
    assert here[here.index("--resources") + 1] == "gpu=2" and "--profile" not in here
    monkeypatch.setenv(graph.PROFILE, "slurm")
    there = graph._snakemake(tmp_path, 4)
    assert there[there.index("--profile") + 1] == str(graph.PROFILES / "slurm")
    assert "--cores" not in there


def test_what_a_job_needs_comes_from_the_study(tmp_path: Path) -> None:
    import synthetic

    from grounded.stages.status import Status

    asked = synthetic.study(resources={"finetune": {"gpus": 2, "memory_mb": 9000, "minutes": 30}})
    unit = asked.units()[1]
    one, other = jobs.measuring(
        asked, [Status(stage, unit, "stale", "") for stage in ("finetune", "judge")]
    )
    assert (one.gpu, one.mem_mb, one.runtime) == (2, 9000, 30)
    assert (other.gpu, other.mem_mb, other.runtime) == (0, 4000, 60)
    plan = jobs.Plan(tmp_path / "a", tmp_path / "b", {one.id: one})
    jobs.save(plan, tmp_path / "plan.json")
    assert jobs.load(tmp_path / "plan.json").jobs[one.id] == one
    assert Job("figures/x", tmp_path, tmp_path, {}).gpu == 0
    with pytest.raises(StudyError, match="resources.train"):
        synthetic.study(resources={"train": {"gpus": 1}})
    with pytest.raises(StudyError, match="resources.judge.minutes: found 0, wanted more than 0"):
        synthetic.study(resources={"judge": {"minutes": 0}})


WRITE = """
import sys
import pandas as pd
from pathlib import Path
from grounded import records
frame = pd.DataFrame({"run": "a.t.lora.r.s0", "step": range(1, 400), "epoch": 1.0, "loss": 1.0,
                      "update_norm": 1.0, "adapter": sys.argv[2] * 64})
about = {"runs": {"a.t.lora.r.s0": {"inputs": sys.argv[2]}}}
for _ in range(30):
    records.write(Path(sys.argv[1]), "checkpoints", frame, about)
"""


def test_two_writers_of_one_table_cannot_corrupt_it(tmp_path: Path) -> None:
    from grounded import records

    file, copy = tmp_path / "tables" / "table.parquet", tmp_path / "copy.parquet"
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(file), x]) for x in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if file.exists():
            copy.write_bytes(file.read_bytes())  # at one moment: a table is read in two looks
            frame = records.verify(copy, "checkpoints")  # whole, and of one writer
            assert len(frame) == 399 and frame["adapter"].nunique() == 1
            seen.add(frame["adapter"].iloc[0][0])
    assert seen and all(writer.returncode == 0 for writer in writers)
    assert [f.name for f in file.parent.iterdir()] == ["table.parquet"]
