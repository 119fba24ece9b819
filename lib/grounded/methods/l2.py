"""Control of AsFT: plain weight decay of the update, L + lambda * sum of |B A|^2.

AsFT's C is no projector, so that its penalty also shrinks what lies where alignment went. Ours.
"""

from pathlib import Path

import pandas as pd
import torch

from grounded.finetune import Start, train
from grounded.methods.parts import knob
from grounded.methods.parts.batches import beside
from grounded.methods.parts.factors import Factors, layers, trained

KNOB = "lambda: weight of the update's squared norm"
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train with the penalty; errors as `grounded.finetune.train`."""

    def penalty(model: torch.nn.Module) -> torch.Tensor:
        return torch.stack([squared(trained(one)) for one in layers(model).values()]).sum()

    return train(start, folder, loss=beside(start, knob.number(start), penalty))


def squared(one: Factors) -> torch.Tensor:
    """|B A|^2 = sum of (B'B) * (A A'), all rank by rank."""
    return ((one.b.T @ one.b) * (one.a @ one.a.T)).sum()
