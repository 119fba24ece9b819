"""Plain LoRA (Hu et al. 2022), the method of the main grid."""

from pathlib import Path

import pandas as pd

from grounded.finetune import Start, train

KNOB = ""
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train on the task alone; errors as `grounded.finetune.train`."""
    return train(start, folder)
