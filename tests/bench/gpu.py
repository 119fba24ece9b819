"""What a device gives: training, replies and verdicts of a model at random weights.

`python -m bench.gpu` in the shape of Llama-3.1-8B on a GPU, `--tiny` anywhere. Speeds are
told as shares of what the device itself was measured to do, its matrix rate and its memory
bandwidth; `shapes` says how operations and bytes are counted, `gpu_work` what is timed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import gpu_work, shapes
from bench.gpu_work import TINY, TINY_CACHE, Plan
from bench.timing import bandwidth, matrix_rate, with_peak
from grounded import loading, paths
from grounded.errors import GroundedError
from grounded.public import devices


def measure(plan: Plan, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """All figures of a device: rates per second, peak memory in bytes (None on CPU).

    GroundedError where the device has too little memory for one of them.
    """
    loading.quiet()
    torch.manual_seed(0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    rate = matrix_rate(plan.matrix, device, dtype, 5 * plan.repeats)
    memory = bandwidth(plan.copied, device, 5 * plan.repeats)
    at = "the model"
    try:
        model = gpu_work.random_model(plan.shape, device, dtype)
        replies, continuous = [], None
        for batch in plan.reply_batches:
            at = f"replies at {batch}"
            work = partial(gpu_work.replies, plan, model, batch, memory)
            replies.append(with_peak(device, work))
        if plan.continuous is not None:
            at = "continuous batching"
            work = partial(gpu_work.continuous_replies, plan, model, max(plan.reply_batches))
            continuous = with_peak(device, work)
        at = "verdicts"
        verdicts = with_peak(device, partial(gpu_work.verdicts, plan, model))
        at = "training"  # the last, for it puts adapters on the model
        training = with_peak(device, partial(gpu_work.training, plan, model, rate))
    except torch.OutOfMemoryError as error:
        raise GroundedError(
            f"{name}: found no memory for {at}, wanted smaller batches (--batches, --train-batch, "
            "--judge-batch) or --checkpointing"
        ) from error
    return {
        "device": name,
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "plan": asdict(plan),
        "parameters": plan.shape.parameters,
        "matrix_flops_per_second": rate,
        "bytes_per_second": memory,
        "training": training,
        "replies": replies,
        "continuous": continuous,
        "verdicts": verdicts,
    }


def table(found: dict[str, Any]) -> str:
    """The ratios as lines, one a figure, with the rates and the memory behind them."""

    def line(name: str, ratio: str, rate: float, unit: str, part: dict[str, Any]) -> str:
        peak = part["peak_bytes"]
        held = "" if peak is None else f", {peak / 2**30:.1f} GiB"
        return f"{name:36}{ratio:>9}  ({rate:.3g} {unit}/s{held})"

    training, verdicts = found["training"], found["verdicts"]
    lines = [
        f"{found['device']}, {found['dtype']}, {found['parameters']:,} weights, "
        f"{found['matrix_flops_per_second'] / 1e12:.3g} Tflop/s, "
        f"{found['bytes_per_second'] / 1e9:.3g} GB/s",
        line(
            "training, share of the matrix rate", f"{training['share_of_matrix_rate']:.1%}",
            training["tokens_per_second"], "tokens", training,
        ),
        *(
            line(
                f"replies at {one['batch']}, time in floors", f"{one['times_floor']:.2f}",
                one["tokens_per_second"], "tokens", one,
            )
            for one in found["replies"]
        ),
        line(
            "verdicts, one pass beside writing", f"{verdicts['times_faster']:.2f}",
            verdicts["one_pass_per_second"], "verdicts", verdicts,
        ),
    ]  # fmt: skip
    if one := found["continuous"]:
        ratio = one["tokens_per_second"] / found["replies"][-1]["tokens_per_second"]
        name = f"continuous batching at {one['batch']}, beside"
        lines.append(line(name, f"{ratio:.2f}", one["tokens_per_second"], "tokens", one))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, to see that it runs")
    parser.add_argument("--config", type=Path, help="config.json of a model of another shape")
    parser.add_argument("--out", type=Path, default=paths.home() / ".cache" / "bench_gpu.json")
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes of replies")
    parser.add_argument("--train-batch", type=int, help="sequences at a time in training")
    parser.add_argument("--judge-batch", type=int, help="verdicts at a time")
    parser.add_argument("--checkpointing", action="store_true", help="less memory in training")
    parser.add_argument("--continuous", action="store_true", help="continuous batching as well")
    asked = parser.parse_args(arguments)
    device, dtype = devices.best()
    if device.type == "cpu" and not asked.tiny:
        raise GroundedError("bench_gpu: found no GPU, wanted one, or --tiny")
    given = {
        "shape": shapes.read(asked.config) if asked.config else None,
        "train_batch": asked.train_batch,
        "judge_batch": asked.judge_batch,
        "reply_batches": tuple(sorted(asked.batches)) if asked.batches else None,
        "checkpointing": asked.checkpointing or None,
        "continuous": (TINY_CACHE if asked.tiny else {}) if asked.continuous else None,
    }
    whole = TINY if asked.tiny else Plan()
    plan = replace(whole, **{name: value for name, value in given.items() if value is not None})
    found = measure(plan, device, dtype)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    print(f"written to {paths.shown(asked.out)}")


if __name__ == "__main__":
    try:
        main()
    except GroundedError as error:
        sys.exit(f"error: {error}")
