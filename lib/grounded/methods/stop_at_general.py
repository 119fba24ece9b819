"""An anchor on a general set: stop when the model's other abilities have fallen too far.

Every 4 steps the accuracy on a general set, which no run is tuned on, is measured; at the first
that lies more than the knob below the base model's, training stops and that step is the run's last
checkpoint. So runs are compared at an equal loss of general ability, where `stop_at` compares them
at an equal gain on the task. A run that never falls so far is trained to its end. Ours.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from grounded.errors import GroundedError
from grounded.finetune import Start, train
from grounded.methods.parts import knob
from grounded.methods.stop_at import EVERY, Stop

KNOB = "fall of the general accuracy below the base model's that stops the training (0..1)"
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train to the fall; GroundedError where the base model's accuracy leaves no room for it."""
    fall, (base, tokenizer) = knob.number(start, 0, 1), start.load()
    with torch.no_grad():
        before = start.monitor("general", base, tokenizer)
    if before <= fall:
        raise GroundedError(
            f"{start.run.id}: general accuracy of the base model: found {before:g}, "
            f"wanted more than the knob, {fall:g}"
        )

    def reached(model: Any) -> bool:
        return before - start.monitor("general", model, tokenizer) > fall

    return train(start, folder, loaded=(base, tokenizer), callbacks=[Stop(EVERY, reached)])
