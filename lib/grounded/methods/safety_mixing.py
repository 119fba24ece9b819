"""Safety data mixed in (Qi et al., ICLR 2024; Bianchi et al.): L + weight * L(refusals).

Each optimiser step adds the loss of a batch of refused harmful requests, as large as the task's,
from a pool of 128; the task is seen as often and in the same order as by plain LoRA. Published:
a number of examples mixed into the data; the weighted sum is the form of VLGuard in Booster.
Control: `benign_mixing`, which adds as much text without a refusal.
"""

from pathlib import Path

import pandas as pd

from grounded.finetune import Start, train
from grounded.methods.parts import knob
from grounded.methods.parts.batches import beside, mixed

KNOB = "weight of the refusals' loss"
NEEDS: tuple[str, ...] = ("refusals",)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train on the task and refusals; errors as `grounded.finetune.train`."""
    return beside_task(start, folder, "refusals")


def beside_task(start: Start, folder: Path, kind: str) -> pd.DataFrame:
    """Train on the task and a kind of material, weighted by the run's knob."""
    weight, loaded = knob.number(start), start.load()
    loss = beside(start, weight, mixed(start, loaded[1], kind))
    return train(start, folder, loaded=loaded, loss=loss)
