"""Control of the projected Safe LoRA: the same modules, a projector of the same rank, at random.

At the same knob, a module that `safe_lora_exact` would project is projected on as many directions
as there, drawn evenly once a run. Ours.
"""

from pathlib import Path

import pandas as pd
import torch

from grounded.finetune import Start
from grounded.methods import plain
from grounded.methods.parts import knob
from grounded.methods.parts.alignment import at_random, projected
from grounded.methods.parts.factors import Adapter, Factors
from grounded.methods.safe_lora import chosen
from grounded.methods.safe_lora_exact import Subspaces

KNOB = "tau of safe_lora_exact, whose modules and ranks are taken"
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Plain LoRA's checkpoints, projected; errors as `grounded.finetune.train`."""
    tau, spaces = knob.number(start, -1, 1), Subspaces(start)
    draw = torch.Generator().manual_seed(start.run.seed)
    drawn: dict[str, torch.Tensor] = {}

    def change(adapter: Adapter) -> Adapter:
        for name in adapter if not drawn else ():
            drawn[name] = at_random(spaces.of(name), draw)
        names = chosen(adapter, spaces.project(adapter), tau)
        turned = {
            name: Factors(adapter[name].a, projected(drawn[name], adapter[name].b))
            for name in names
        }
        return {**adapter, **turned}

    return plain.changed(start, folder, change)
