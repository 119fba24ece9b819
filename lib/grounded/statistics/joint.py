"""What is said of the same replies, side by side: a column a judge."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from grounded import paths
from grounded.errors import GroundedError
from grounded.statistics import columns

KEY = ["benchmark", "prompt", "run", "step"]  # of a reply


def beside(
    replies: pd.DataFrame, verdicts: pd.DataFrame, judges: Sequence[str], file: Path
) -> dict[str, npt.NDArray[np.float32]]:
    """Each judge's verdict on each reply: 1, 0, or nan where it is missing.

    verdicts: the rows of `file`: judge, the key of a reply, label. GroundedError for a judge that
    has none on these replies.
    """
    found, own = {}, columns.by(verdicts, "judge")
    for name in judges:
        said = own.get(name, verdicts[:0])
        place = columns.find(replies[KEY], said[KEY], KEY)
        if not (place >= 0).any():
            raise GroundedError(
                f"{paths.shown(file)}: judge: found no {name!r}, wanted its verdicts"
            )
        label = columns.values(said["label"]).astype(np.float32)
        found[name] = np.where(place >= 0, label[place], np.float32(np.nan))
    return found
