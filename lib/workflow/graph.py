"""Run the jobs of a plan side by side, each as soon as what it needs is done (Snakemake).

One `make` at a time works on a study in a folder. It holds a lock that the operating system
takes back when the process ends, however it ends: nothing has to be unlocked by hand.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from grounded import paths
from grounded.errors import GroundedError
from grounded.stages.plan import some
from workflow import gpus
from workflow.jobs import TOLD, Job, Plan, save

SNAKEFILE = Path(__file__).with_name("Snakefile")
PROFILES = Path(__file__).with_name("profiles")
PROFILE = "GROUNDED_PROFILE"  # names the Snakemake profile; without it the jobs run here
POLL = 0.2  # seconds between looks at what the jobs have told
ROOM = 50_000_000  # bytes: a kernel, its log and the tables of a small unit
MINUTE = 60.0  # seconds between looks at how far they are


@contextmanager
def alone(study: str) -> Iterator[None]:
    """Wait until no other `make` works on the study here, then keep others out."""
    paths.cache(study).mkdir(parents=True, exist_ok=True)
    with (paths.cache(study) / "make.lock").open("a") as lock:
        _lock(lock, f"another make works on {study} in {paths.home()}: waiting for it")
        # A make that was killed has left its lock, but its jobs may still be ending.
        with _running(study).open("a") as jobs:
            _lock(jobs, "waiting for the last jobs of a make that was killed")
        yield


def run(study: str, jobs: Sequence[Job], cores: int) -> dict[str, dict[str, Any]]:
    """Execute the jobs; what each told, by id. To be called inside `alone`.

    On stdout a line for each job that ends, and below it what its notebook printed. A job tells by
    a file: on a cluster it ends on another machine. GroundedError, one line a job that failed: what
    does not need them is made all the same.
    """
    graphs = paths.cache(study) / "graph"
    if (free := shutil.disk_usage(paths.home()).free) < ROOM:
        raise GroundedError(
            f"{paths.home()}: found {free:,} bytes free on the disk, wanted {ROOM:,} at least"
        )
    shutil.rmtree(graphs, ignore_errors=True)
    graphs.mkdir(exist_ok=True)
    # A new name: what is left of a killed make finds its own folder gone, and begins nothing.
    folder = Path(tempfile.mkdtemp(dir=graphs))
    plan = Plan(folder / "alive", _running(study), {job.id: job for job in jobs})
    save(plan, folder / "plan.json")
    log_path = paths.cache(study) / "graph.log"
    with plan.alive.open("w") as alive, log_path.open("w") as log:
        fcntl.flock(alive, fcntl.LOCK_EX)
        process = subprocess.Popen(
            _snakemake(folder, cores),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process alone; the jobs end with it
        )
        try:
            told = _follow(process, folder / TOLD, plan, log_path)
        finally:
            fcntl.flock(alive, fcntl.LOCK_UN)
            process.wait()
    failed = [result["error"] for result in told.values() if result["error"]]
    if not failed and (left := [name for name in plan.jobs if name not in told]):
        ended = f"the graph ended with status {process.returncode}"
        failed = [f"{some(left)}: found no result, for {ended} (see {paths.shown(log_path)})"]
    if failed:
        raise GroundedError("\n".join(failed))
    return told


def _running(study: str) -> Path:
    return paths.cache(study) / "jobs.lock"


def _lock(file: IO[str], meanwhile: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(meanwhile, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)


def _snakemake(folder: Path, cores: int) -> list[str]:
    """Snakemake's command line: on this machine, or as the profile says, on a cluster."""
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)),
        *("--directory", str(folder), "--config", f"plan={folder / 'plan.json'}"),
        *("--scheduler", "greedy", "--quiet", "all", "--nocolor"),
        *("--keep-going", "--nolock", "--runtime-source-cache-path", str(folder / "sources")),
    ]
    if place := os.environ.get(PROFILE):
        return [*command, "--profile", str(profile(place)), "--local-cores", str(cores)]
    held = len(gpus.visible()) or cores
    return [*command, "--cores", str(cores), "--resources", f"gpu={held}"]


def profile(name: str) -> Path:
    """The folder of a Snakemake profile: one of ours, by its name, or any, by its path."""
    folder = PROFILES / name if (PROFILES / name).is_dir() else Path(name)
    if not (folder / "config.yaml").is_file():
        known = ", ".join(sorted(p.name for p in PROFILES.iterdir()))
        raise GroundedError(
            f"profile: found no config.yaml in {name}, wanted one of {known}, or a folder with one"
        )
    return folder.resolve()


def _follow(
    process: subprocess.Popen[bytes], folder: Path, plan: Plan, log: Path
) -> dict[str, dict[str, Any]]:
    """What the jobs tell as they end, shown as it comes; once a minute how far the others are."""
    read, due = 0, time.monotonic() + MINUTE
    told: dict[str, dict[str, Any]] = {}
    seen: dict[Path, int] = {}
    ended = False
    while not ended:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
            ended = True  # and once more, for what came since
        files = {file: file.stat().st_mtime_ns for file in folder.rglob("*.json")}
        for file in sorted(files, key=lambda f: files[f]):
            if seen.get(file) == files[file]:
                continue
            seen[file] = files[file]
            result = json.loads(file.read_text(encoding="utf-8"))
            told[result["job"]] = result
            _say(plan, told, result)
        if time.monotonic() >= due:
            said = log.read_bytes()
            for line in under_way(said[read:].decode(errors="replace")):
                print(f"    {line}", flush=True)
            read, due = len(said), time.monotonic() + MINUTE
    return told


def under_way(said: str) -> list[str]:
    """Where each progress bar in what the jobs wrote stands last, without its picture."""
    bars = re.findall(r"(?m)(?:^|\r)([^\r\n|]*?): +\d+%\|[^|\r\n]*\| ([^\r\n]*\])", said)
    return [f"{what}: {state}" for what, state in dict(bars).items()]


def _say(plan: Plan, told: dict[str, dict[str, Any]], result: dict[str, Any]) -> None:
    job = plan.jobs[result["job"]]
    left = Counter(other.stage for name, other in plan.jobs.items() if name not in told)
    rest = ", ".join(f"{count} {stage}" for stage, count in left.items()) or "nothing"
    ended = "failed" if result["error"] else f"{result['seconds']:.0f} s"
    print(f"  {job.stage} {job.unit}: {ended}; left: {rest}", flush=True)
    for said in result.get("said", "").splitlines():
        print(f"    {said}", flush=True)
