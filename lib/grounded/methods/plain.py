"""Plain LoRA's checkpoints, for the methods that change them after the training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from peft import LoraConfig

from grounded.errors import GroundedError
from grounded.finetune import WEIGHTS, Start, train
from grounded.methods.parts import factors


def folder(start: Start, folder: Path) -> Path:
    """Where they lie: those that the start carries, or trained now into folder/plain.

    GroundedError where the start's do not hold a measured step.
    """
    if start.plain is None:
        train(start, folder / "plain")
        return folder / "plain"
    for step in start.steps:
        if not (start.plain / f"step-{step}" / WEIGHTS).is_file():
            raise GroundedError(
                f"{start.run.id}: checkpoints of plain LoRA: found none of step {step}, "
                f"wanted {', '.join(map(str, start.steps))}"
            )
    return start.plain


def changed(
    start: Start, out: Path, change: Callable[[factors.Adapter], factors.Adapter]
) -> pd.DataFrame:
    """Each of them after `change` (of its factors), saved to `out`.

    The rows of `checkpoints` that come back have no loss: none was measured of what was changed.
    """
    plain, rows = folder(start, out), []
    for step, epoch in start.steps.items():
        source = plain / f"step-{step}"
        config = LoraConfig.from_pretrained(str(source))
        made = change(factors.read(source))
        sha, size = factors.place(made, config, out / f"step-{step}")
        rows.append(
            {"run": start.run.id, "step": step, "epoch": epoch, "loss": float("nan"),
             "update_norm": size, "adapter": sha}
        )  # fmt: skip
    if start.plain is None:
        shutil.rmtree(plain)
    return pd.DataFrame(rows)
