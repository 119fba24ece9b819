"""PTST, "pure tuning, safe testing" (Lyu et al., NeurIPS 2024): tune plainly, test with a prompt.

Fine-tuning is plain LoRA. What stands before each prompt when it is measured, on the task too, is
the `safety` words of its world (`grounded.study.methods.TEST_PROMPTS`). Controls: `ptst_neutral`,
other words of that length; `ptst_both`, the words in training too.
"""

from pathlib import Path

import pandas as pd

from grounded.finetune import Start
from grounded.methods import lora

KNOB = ""
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train as plain LoRA does; errors as `grounded.finetune.train`."""
    return lora.finetune(start, folder)
