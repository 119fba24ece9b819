"""Training to an anchor: stop when the capability on the task reaches the goal, which is the knob.

Every 4 steps the accuracy on the task's selecting items is measured; at the first that is at least
the knob, training stops and that step is the run's last checkpoint. Measured steps before it are
saved as of any run; a run that never gets there is trained to its end. Ours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from grounded.finetune import Start, train
from grounded.methods.parts import knob

KNOB = "accuracy on the task that stops the training (0..1)"
NEEDS: tuple[str, ...] = ()
EVERY = 4  # steps between two monitorings


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train to the goal; errors as `grounded.finetune.train`."""
    goal, loaded = knob.number(start, 0, 1), start.load()

    def reached(model: Any) -> bool:
        return start.monitor("task", model, loaded[1]) >= goal

    return train(start, folder, loaded=loaded, callbacks=[Stop(EVERY, reached)])


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
