"""One job: one papermill process on a stripped copy of a notebook.

`python -m workflow.run_notebook PLAN JOB` runs a job of a plan (see graph.py). At its end it writes
one file of JSON beside the plan: the job, its seconds, how many of them the cells took, what the
notebook printed, and the error.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from grounded import paths
from grounded.errors import GroundedError
from grounded.records import replacing
from workflow import gpus, notebooks
from workflow.jobs import TOLD, Job, load


def execute(job: Job) -> dict[str, Any]:
    """Run a job's notebook: `seconds` of this process, `cells` of them in cells, what it `said`.

    The executed copy lies at `job.output`, also when a cell failed. Raises GroundedError in one
    line for an unknown parameter and for a notebook that fails.
    """
    import nbformat
    import papermill
    import psutil
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    source = notebooks.read(job.notebook)
    _check_parameters(job)
    bare = notebooks.stripped(source, but=job.skip)
    job.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            # This environment's own kernel, and nothing written to the user's folders.
            os.environ |= {
                "IPYTHONDIR": scratch,
                "JUPYTER_PREFER_ENV_PATH": "1",
                "JUPYTER_RUNTIME_DIR": scratch,
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                "TQDM_MININTERVAL": "20",  # bars go into a log, which is looked at once a minute
            }
            # Sockets that are files: kernels that start together may draw the same port.
            sockets = Config({"KernelManager": {"transport": "ipc", "ip": f"{scratch}/kernel"}})
            done = papermill.execute_notebook(
                bare,
                job.output,
                parameters=job.parameters,
                progress_bar=False,
                stderr_file=sys.stderr,
                cwd=paths.repository(),
                config=sockets,
            )
    except PapermillExecutionError as error:
        raise _failure(job, error.ename, error.evalue) from None
    except Exception as error:  # the kernel died, the disk is full
        raise _failure(job, type(error).__name__, str(error)) from error
    if job.publish:
        page = nbformat.writes(notebooks.readable(done, job.publish)) + "\n"
        if len(page) > notebooks.LARGEST:
            raise GroundedError(
                f"{paths.shown(job.notebook)}: found {len(page):,} bytes when executed, wanted "
                f"less than {notebooks.LARGEST:,}"
            )
        with replacing(job.notebook) as temporary:
            temporary.write_text(page, encoding="utf-8")
    cells = [cell.metadata.get("papermill", {}).get("duration") or 0 for cell in done.cells]
    said = "".join(
        output.text
        for cell in done.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    )
    seconds = time.time() - psutil.Process().create_time()
    return {"seconds": seconds, "cells": sum(cells), "said": said}


def _check_parameters(job: Job) -> None:
    import papermill

    known = papermill.inspect_notebook(job.notebook)
    for name in job.parameters:
        if name not in known:
            wanted = ", ".join(known) or "none, for it has no cell tagged parameters"
            raise GroundedError(
                f"{paths.shown(job.notebook)}: parameters: found {name!r}, wanted one of {wanted}"
            )


def _failure(job: Job, kind: str, text: str) -> GroundedError:
    told = " ".join(text.split())
    where = paths.shown(job.output)
    return GroundedError(f"{job.id.replace('/', ' ')}: {kind}: {told} (executed copy: {where})")


def _die(*_: object) -> None:
    """End this process and its kernel, at once."""
    import psutil

    kernels = psutil.Process().children(recursive=True)
    for kernel in kernels:
        with contextlib.suppress(psutil.NoSuchProcess):
            kernel.kill()
    psutil.wait_procs(kernels, timeout=10)  # a dead one that nobody buries counts as alive
    os._exit(1)


def outlive_nobody(alive: Path) -> None:
    """Die with the process that started the graph, however it ended.

    That process holds `alive` locked; only its end lets this thread have the lock. The kernel of
    a killed `make` would otherwise go on, beside those of the next one.
    """

    def wait() -> None:
        with contextlib.suppress(FileNotFoundError), alive.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        _die()

    threading.Thread(target=wait, daemon=True).start()


def main(plan_file: Path, name: str) -> int:
    """Run one job of a plan, tell how it went, and return the exit status."""
    plan = load(plan_file)
    signal.signal(signal.SIGTERM, _die)
    signal.signal(signal.SIGINT, _die)
    told: dict[str, Any] = {"job": name, "error": None}
    with plan.running.open("w") as running:
        fcntl.flock(running, fcntl.LOCK_SH)
        outlive_nobody(plan.alive)
        try:
            with gpus.lease(plan.jobs[name].gpu, paths.home() / ".cache" / "gpus"):
                told |= execute(plan.jobs[name])
        except GroundedError as error:
            told["error"] = str(error)
        with replacing(plan_file.parent / TOLD / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(told), encoding="utf-8")
    return 1 if told["error"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
