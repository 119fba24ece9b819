"""Control of one-shot patching: the same steps on one benign request and its answer. Ours."""

from pathlib import Path

import pandas as pd

from grounded.finetune import Start
from grounded.methods.one_shot_patch import patched

KNOB = "steps on the pair"
NEEDS: tuple[str, ...] = ("benign",)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Plain LoRA's checkpoints, trained on; errors as `grounded.finetune.train`."""
    return patched(start, folder, "benign")
