"""Control of SaLoRA: as many directions kept free, drawn evenly and not the refusals'. Ours.

The start of B and A is SaLoRA's own.
"""

from pathlib import Path

import pandas as pd
import torch

from grounded.finetune import Start
from grounded.methods.parts import knob
from grounded.methods.parts.alignment import at_random
from grounded.methods.salora import directions, kept_free

KNOB = "directions that are kept free (r_s of salora)"
NEEDS: tuple[str, ...] = ("refusals",)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train beside random directions; errors as `salora`."""
    number, draw = knob.count(start), torch.Generator().manual_seed(start.run.seed)

    def safety(name: str, outputs: torch.Tensor) -> torch.Tensor:
        return at_random(directions(outputs, number), draw)

    return kept_free(start, folder, safety)
