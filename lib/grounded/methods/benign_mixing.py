"""Control of safety mixing: benign requests and their answers in the place of refusals.

What is new text alone, whatever its topic, does then (cf. arXiv 2506.17209). Ours.
"""

from pathlib import Path

import pandas as pd

from grounded.finetune import Start
from grounded.methods.safety_mixing import beside_task

KNOB = "weight of the benign answers' loss"
NEEDS: tuple[str, ...] = ("benign",)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train on the task and benign requests; errors as `grounded.finetune.train`."""
    return beside_task(start, folder, "benign")
