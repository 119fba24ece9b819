"""Control of PTST: words of equal length that say nothing of safety, at test time alone. Ours."""

from pathlib import Path

import pandas as pd

from grounded.finetune import Start
from grounded.methods import lora

KNOB = ""
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train as plain LoRA does; errors as `grounded.finetune.train`."""
    return lora.finetune(start, folder)
