"""What long work shows on stderr: a bar, with the time that is left."""

import sys
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Bar(TrainerCallback):
    """Shows the steps of one training; nothing without a label."""

    def __init__(self, label: str | None) -> None:
        self._label = label

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show it, with the number of all steps."""
        self._bar = tqdm(
            total=state.max_steps, desc=self._label, unit="step", disable=self._label is None,
            file=sys.stderr,
        )  # fmt: skip

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count a step of the optimiser."""
        self._bar.update()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave it as it is."""
        self._bar.close()
