"""Training to an anchor: stop when the capability on the task reaches the goal.

Every `knob` steps the accuracy on the task's selecting items is measured; at the first that is at
least the run's anchor, training stops and that step is the run's last checkpoint. Measured steps
before it are saved as of any run; a run that never gets there is trained to its end. Ours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from grounded.errors import GroundedError
from grounded.finetune import Start, train
from grounded.methods.parts import knob

KNOB = "steps between two monitorings"
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train to the anchor; GroundedError where the run has none in (0, 1]."""
    every, goal = knob.count(start), start.anchor
    if goal is None or not 0 < goal <= 1:
        raise GroundedError(
            f"{start.run.id}: anchor: found {goal}, wanted an accuracy above 0, at most 1"
        )
    loaded = start.load()

    def reached(model: Any) -> bool:
        return start.monitor("task", model, loaded[1]) >= goal

    return train(start, folder, loaded=loaded, callbacks=[Stop(every, reached)])


class Stop(TrainerCallback):
    """Stops the training at the first monitoring, every so many steps, that says so."""

    def __init__(self, every: int, reached: Callable[[Any], bool]) -> None:
        self.every, self.reached = every, reached

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Monitor the model, in evaluation mode, where it is time."""
        if state.global_step % self.every:
            return
        model = kwargs["model"]
        model.eval()
        with torch.no_grad():
            if self.reached(model):
                control.should_training_stop = True
        model.train()
