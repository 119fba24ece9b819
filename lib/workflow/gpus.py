"""A GPU for each job and no job on another's: Snakemake counts GPUs and does not hand them out.

Under Slurm the cluster hands them out. Elsewhere a job holds a lock on each GPU that it uses, one
file a host and GPU, which the operating system takes back when the process ends, however it ends.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from grounded.errors import GroundedError

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 0.2  # seconds between looks at GPUs that are all taken


def visible() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES gives them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout.split() if told.returncode == 0 else []


@contextmanager
def lease(number: int, folder: Path) -> Iterator[list[str]]:
    """Hold so many GPUs, and let this process and its children see no others.

    folder: where the locks lie, one for all studies. Waits while all are taken. On a machine
    without GPUs nothing is held, and the work is done on the CPU. GroundedError where there are
    some, and fewer than asked for.
    """
    names = visible()
    if number == 0 or not names or "SLURM_JOB_ID" in os.environ:
        yield names
        return
    if number > len(names):
        raise GroundedError(f"GPUs: found {len(names)}, wanted {number} for one job")
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(VISIBLE)
    with ExitStack() as held:
        with (folder / f"{socket.gethostname()}.lock").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # one at a time chooses: no two wait for each other
            mine = _take(number, names, folder, held)
        os.environ[VISIBLE] = ",".join(mine)
        try:
            yield mine
        finally:
            os.environ.pop(VISIBLE)
            if before is not None:
                os.environ[VISIBLE] = before


def _take(number: int, names: list[str], folder: Path, held: ExitStack) -> list[str]:
    """Lock so many: those that are free, then, waiting, whichever become so first."""
    files = {name: folder / f"{socket.gethostname()}-gpu-{name}.lock" for name in names}
    mine: list[str] = []
    while True:
        for name in names:
            if len(mine) < number and name not in mine and _lock(files[name], held):
                mine.append(name)
        if len(mine) == number:
            return mine
        time.sleep(POLL)  # a lock can be waited for, but not the first of several


def _lock(path: Path, held: ExitStack) -> bool:
    """Lock a file until `held` ends, unless another process has it."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    held.enter_context(file)
    return True
