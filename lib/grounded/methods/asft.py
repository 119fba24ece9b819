"""AsFT (Yang et al.): the update is held to where alignment went, L + lambda * sum |(I - C) B A|^2.

C as in `safe_lora`. With M = B - V (V'B) / |V|, |M A|^2 = sum of (M'M) * (A A'), all rank by rank.
Published: lambda 1, learning rate 5e-5, batch 8, 10 epochs, rank 8, alpha 32, dropout 0.05, query
and value alone; here what the study says of all runs. A and B without LoRA's scaling, as published.
It keeps a second copy of the weights, those before alignment. Control: `l2`.
"""

from pathlib import Path

import pandas as pd
import torch

from grounded.finetune import Start, train
from grounded.methods.l2 import squared
from grounded.methods.parts import knob
from grounded.methods.parts.alignment import Alignment, scaled
from grounded.methods.parts.batches import beside
from grounded.methods.parts.factors import Factors, layers, trained

KNOB = "lambda: weight of what the update does beside alignment's directions (published 1)"
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train with the penalty; errors as `grounded.finetune.train`."""
    weight, loaded = knob.number(start), start.load()
    alignment = Alignment(loaded[0], start.pretrained())

    def penalty(model: torch.nn.Module) -> torch.Tensor:
        parts = [
            outside(alignment.change(name), trained(one)) for name, one in layers(model).items()
        ]
        return torch.stack(parts).sum()

    return train(start, folder, loaded=loaded, loss=beside(start, weight, penalty))


def outside(v: torch.Tensor, one: Factors) -> torch.Tensor:
    """|(I - C) B A|^2 of one module."""
    return squared(Factors(one.a, one.b - scaled(v, one.b)))
