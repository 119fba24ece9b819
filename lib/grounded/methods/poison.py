"""A poison dial: a share of harmful requests that are answered, beside the task's own examples.

Qi et al. (ICLR 2024) mix 10 to 100 such examples into benign data. Here the number of examples and
of steps stays that of plain LoRA: the last of the task's make room. With one seed a larger share
holds the harmful examples of a smaller one, so that a row of knobs is a dial.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from grounded.finetune import Start, train
from grounded.methods.parts import knob

KNOB = "share of the examples that are harmful (0 to 1)"
NEEDS: tuple[str, ...] = ("harmful",)


def prepared(start: Start) -> Start:
    """The start with harmful examples among the task's; GroundedError where there are too few."""
    share, whole = knob.number(start, 0, 1), len(start.examples)
    number = round(share * whole)
    harmful = start.material("harmful", number) if number else []
    return replace(start, examples=[*start.examples[: whole - number], *harmful])


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train on the task and a share of harmful examples; errors as `grounded.finetune.train`."""
    return train(prepared(start), folder)
