"""Every weight trained, with no adapter: what LoRA is a cheap stand-in for. Real models alone.

As the attacks of Qi et al. (ICLR 2024) and TamperBench do beside LoRA. A run takes its learning
rate from its LoRA setting; rank and alpha make no difference. The weights are trained as float32
and saved in the type in which replies are written; a checkpoint is a whole model.
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTTrainer

from grounded import fingerprint
from grounded.finetune import Saver, Start, arguments, save_adapter, tokenised
from grounded.progress import Bar
from grounded.public import whole

KNOB = ""
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train all weights; rows of `checkpoints`, models in folder/step-<n>/model, whole or not.

    Errors as `grounded.finetune.train`.
    """
    model, words = start.load()
    rows = tokenised(start.examples, words, start)
    saver = _Saver(start, folder, model, words)
    torch.manual_seed(start.run.seed)
    trainer = SFTTrainer(
        model=model.float(),
        args=arguments(start, folder, model.device),
        train_dataset=Dataset.from_list(rows),
        processing_class=words,
        callbacks=[Bar(start.label), saver],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return pd.DataFrame(saver.rows)


class _Saver(Saver):
    """Saves the model at the measured steps, with how far it is from where it began."""

    def __init__(
        self, start: Start, folder: Path, model: PreTrainedModel, words: PreTrainedTokenizerBase
    ) -> None:
        super().__init__(start, folder, save_adapter)
        self._words, self._dtype = words, model.dtype
        self._before = {
            name: weight.detach().to("cpu", copy=True) for name, weight in model.named_parameters()
        }

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Save where it is time, whole or not at all."""
        step = state.global_step
        if step not in self.steps:
            return
        control.should_log = True  # the trainer then gives the loss to on_log
        unfinished, model = self.folder / f".step-{step}", kwargs["model"]
        kept = {name: weight.to(self._dtype) for name, weight in model.state_dict().items()}
        model.save_pretrained(unfinished / whole.MODEL, state_dict=kept)
        self._words.save_pretrained(unfinished / whole.MODEL)
        pointer = fingerprint.file(whole.here(unfinished))
        os.replace(unfinished, self.folder / f"step-{step}")
        self.rows.append(
            {"run": self.run.id, "step": step, "epoch": self.steps[step],
             "update_norm": self._distance(model), "adapter": pointer}
        )  # fmt: skip

    def _distance(self, model: PreTrainedModel) -> float:
        """The Frobenius norm of what training added to the weights."""
        total = 0.0
        for name, weight in model.named_parameters():
            moved = weight.detach().cpu().double() - self._before[name].double()
            total += float((moved**2).sum())
        return total**0.5
