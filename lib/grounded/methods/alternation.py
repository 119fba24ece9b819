"""Control of Lisa: the same turns of refusals and task, with nothing that holds one to the other.

Lisa with rho 0; a mixing at 10%, in which each step has one kind of data. Ours.
"""

from pathlib import Path

import pandas as pd

from grounded.finetune import Start
from grounded.methods.lisa import in_turns

KNOB = ""
NEEDS: tuple[str, ...] = ("refusals",)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train in turns; errors as `grounded.finetune.train`."""
    return in_turns(start, folder, 0.0)
