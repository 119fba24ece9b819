"""`make bench-methods`: what each mitigation costs in time and memory, against plain LoRA.

One run each, at the middle of its knob, in a process of its own: seconds from the loaded
libraries to the last checkpoint, and the most memory that the process held. Methods that work on
finished checkpoints are given plain LoRA's, as in a study, so theirs is what they add.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from grounded import study
from grounded.errors import GroundedError
from grounded.study import LORA, Run, Study

AFTER = ("safe_lora", "safe_lora_exact", "shrink", "random_subspace", "one_shot_patch",
         "one_shot_benign")  # fmt: skip
TIMES = 3  # that plain LoRA is measured, among the others


def middle(asked: Study, arm: str) -> dict[str, Run]:
    """The first run of each method at the middle of its knob."""
    found = {}
    for method, knobs in asked.arms[arm].methods.items():
        knob = sorted(knobs)[len(knobs) // 2] if knobs else None
        found[method] = next(
            run for run in asked.runs(arm=arm) if run.method == method and run.knob == knob
        )
    return found


def measure(asked: Study, run: Run) -> dict[str, float]:
    """Train one run in this process: seconds, and megabytes at most."""
    from grounded.microworld import finetuning

    method = import_module(f"grounded.methods.{run.method}")
    with tempfile.TemporaryDirectory() as scratch:
        start = finetuning.start(asked, run)
        if run.method in AFTER:
            plain = replace(run, method=LORA, knob=None)
            folder = Path(scratch, "plain")
            folder.mkdir()
            before = finetuning.start(asked, plain)
            import_module(f"grounded.methods.{LORA}").finetune(before, folder)
            start = replace(start, plain=folder)
        own = Path(scratch, "own")
        own.mkdir()
        began = time.perf_counter()
        method.finetune(start, own)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "megabytes": peak / (1024 if sys.platform == "linux" else 2**20)}


def table(told: dict[str, dict[str, float]], plain: list[dict[str, float]]) -> list[str]:
    """A line a method: its cost as a multiple of plain LoRA's median."""
    base = {name: statistics.median(one[name] for one in plain) for name in plain[0]}
    lines = ["| method | knob | time | memory |", "|---|---|---|---|"]
    for name, one in told.items():
        time_, memory = (one[what] / base[what] for what in ("seconds", "megabytes"))
        knob = "–" if one["knob"] != one["knob"] else f"{one['knob']:g}"
        more = "+" if name in AFTER else ""
        lines.append(f"| {name} | {knob} | {more}{time_:.2f} | {memory:.2f} |")
    return lines


def main() -> int:
    """Measure every method of the study's arm of mitigations, or one in this process."""
    parser = argparse.ArgumentParser(prog="bench_methods", description=__doc__)
    parser.add_argument("study", nargs="?", default="micro")
    parser.add_argument("--one", default="")
    given = parser.parse_args()
    asked = study.load(given.study)
    if asked.anchoring is None or asked.anchoring.mitigations is None:
        raise GroundedError(f"{asked.name}: anchoring.mitigations: found nothing, wanted an arm")
    runs = middle(asked, asked.anchoring.mitigations)
    if given.one:
        print(json.dumps(measure(asked, runs[given.one])))
        return 0
    names = [name for name in runs if name != LORA]
    every = max(1, len(names) // (TIMES - 1))
    order = [n for i, name in enumerate(names) for n in (LORA, name)[i % every > 0 :]]
    told: dict[str, dict[str, float]] = {}
    plain = []
    for name in [*order, LORA]:
        command = [sys.executable, "-m", "bench.methods", asked.name, "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"  {name}: {found['seconds']:.1f} s, {found['megabytes']:.0f} MB", flush=True)
        if name == LORA:
            plain.append(found)
        else:
            knob = runs[name].knob
            told[name] = found | {"knob": float("nan") if knob is None else knob}
    spread = [one["seconds"] for one in plain]
    print(*table(told, plain), sep="\n")
    print(f"plain LoRA: {min(spread):.1f} to {max(spread):.1f} s in {len(spread)} measurements")
    return 0


if __name__ == "__main__":
    sys.exit(main())
