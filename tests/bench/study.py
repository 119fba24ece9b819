"""What the machinery costs: `make bench`, or `python -m bench.study STUDY --jobs N`.

Ratios within one run, not seconds: those are the machine's.
"""

import argparse
import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from grounded import fingerprint, paths
from grounded.stages import worlds
from grounded.stages.status import status
from grounded.study import BASE, LORA, Study, load
from workflow import graph, jobs

TIMER = "import time; began = time.monotonic()\n{imports}\nprint(time.monotonic() - began)"


def overhead(study: Study, cores: int) -> None:
    """The share of the wall time of jobs that goes into starting kernels and into imports.

    Measured on one model and its first task, from fine-tuning to verdicts, in a folder of its own
    with the models and judges of the study; of the whole study as if all models and tasks took as
    long. Imports are timed in a fresh process for each stage.
    """
    model = next(iter(study.models))
    units = [f"{model}-{BASE}", f"{model}-{next(iter(study.tasks))}"]
    home = os.environ.get("GROUNDED_HOME")
    with tempfile.TemporaryDirectory() as scratch:
        source = paths.data(study.name)
        os.environ["GROUNDED_HOME"] = scratch
        try:
            for name in ("study.yaml", "models", "judges"):
                copy = shutil.copytree if (source / name).is_dir() else shutil.copy
                paths.data(study.name).mkdir(parents=True, exist_ok=True)
                copy(source / name, paths.data(study.name) / name)
            todo = jobs.measuring(study, [s for s in status(study) if s.unit in units])
            with graph.alone(study.name):
                told = graph.run(study.name, todo, cores)
        finally:
            os.environ.pop("GROUNDED_HOME")
            if home is not None:
                os.environ["GROUNDED_HOME"] = home
    whole = {True: len(study.models), False: len(study.models) * len(study.tasks)}
    spent, lost = 0.0, 0.0
    for stage in dict.fromkeys(job.stage for job in todo):
        stage_imports = _import_seconds(study, stage)
        for job in (job for job in todo if job.stage == stage):
            wall, cells = told[job.id]["seconds"], told[job.id]["cells"]
            imports = min(cells, stage_imports)  # not every job needs all of them
            times = whole[job.unit.endswith(f"-{BASE}")]
            spent, lost = spent + times * wall, lost + times * (wall - cells + imports)
            print(
                f"  {job.id}: {1 - cells / wall:.1%} starting its kernel, "
                f"{imports / wall:.1%} imports"
            )
    print(f"  from fine-tuning to verdicts, the whole study: {lost / spent:.1%}")


def _import_seconds(study: Study, stage: str) -> float:
    """How long a fresh process takes for all that a stage imports: early, late, or by name."""
    used = [f"grounded.stages.{stage}", worlds.module(study, stage)]
    used += [f"grounded.methods.{LORA}"] if stage == "finetune" else []
    found = dict.fromkeys(
        ast.unparse(node)
        for name in fingerprint.modules(*used)
        for node in ast.walk(ast.parse(_source(name)))
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    program = TIMER.format(imports="\n".join(found))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.study", description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    overhead(load(given.study), given.jobs)
