"""LoRA fine-tuning with PEFT and TRL, and the adapters that a run leaves along the way."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.loading import chat_tokens, load
from grounded.study import Run, Study

WEIGHTS = "adapter_model.safetensors"
IGNORED = -100  # the label of a token that the loss leaves out


class Example(Protocol):
    """What a model is trained on: the user's turn and the assistant's."""

    @property
    def prompt(self) -> str: ...  # noqa: D102
    @property
    def completion(self) -> str: ...  # noqa: D102


def finetune(
    run: Run,
    study: Study,
    base_folder: Path,
    out_folder: Path,
    examples: Sequence[Example] | None = None,
) -> pd.DataFrame:
    """Train one run; returns its rows of the table `checkpoints`, one for each measured epoch.

    The adapter of each lies in out_folder/step-<n>, whole or not at all. Without `examples` the
    run's own are used. Everything that is drawn (adapter, order) is drawn from the run's seed.
    GroundedError where the number of examples is not the study's, max_length would cut one, or
    the loss is no longer a number.
    """
    examples = _examples(run, study) if examples is None else examples
    model, tokenizer = load(base_folder)
    saver = _Saver(run, study.steps, out_folder)
    trainer = SFTTrainer(
        model=model,
        args=_config(run, study, out_folder),
        train_dataset=Dataset.from_list(tokenised(examples, tokenizer, run, study)),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=run.rank,
            lora_alpha=run.alpha,
            lora_dropout=study.training.dropout,
            target_modules=study.training.target_modules,
            task_type="CAUSAL_LM",
        ),
        callbacks=[saver],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return pd.DataFrame(saver.rows)


def tokenised(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, run: Run, study: Study
) -> list[dict[str, list[int]]]:
    """The examples as TRL trains on them: tokens, and labels that leave out the prompt.

    GroundedError when max_length would cut an example, where TRL would cut or drop it silently.
    """
    if len(examples) != study.training.examples:
        raise GroundedError(
            f"{run.id}: examples: found {len(examples)}, wanted training.examples "
            f"({study.training.examples})"
        )
    rows = []
    for example in examples:
        chat = [{"role": "user", "content": example.prompt}]
        answer = {"role": "assistant", "content": example.completion}
        prompt = chat_tokens(tokenizer, chat, answer_follows=True)
        whole = chat_tokens(tokenizer, [*chat, answer], answer_follows=False)
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            raise GroundedError(
                f"{run.id}: chat template: found a prompt that is no beginning of its dialogue "
                f"({example.prompt[:60]!r}), wanted a template that only appends"
            )
        labels = [IGNORED] * len(prompt) + whole[len(prompt) :]
        rows.append({"input_ids": whole, "labels": labels})
    longest, limit = max(len(row["input_ids"]) for row in rows), study.training.max_length
    if cut := sum(len(row["input_ids"]) > limit for row in rows):
        raise GroundedError(
            f"{paths.shown(paths.study_file(study.name))}: training.max_length: found {limit}, "
            f"which cuts {cut} of {len(rows)} examples of {run.task}, wanted at least {longest}"
        )
    return rows


def update_norm(model: torch.nn.Module) -> float:
    """The Frobenius norm of what LoRA adds to the weights, over all layers; 0 before training.

    Of each layer from its factors, so that no full matrix is formed: |BA|^2 = <B'B, AA'>.
    """
    total = 0.0
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, scale in layer.scaling.items():
                a, b = (f[name].weight.detach().double() for f in (layer.lora_A, layer.lora_B))
                total += float(scale**2 * ((b.T @ b) * (a @ a.T)).sum())
    return math.sqrt(max(total, 0.0))


def _examples(run: Run, study: Study) -> Sequence[Example]:
    from grounded import tasks

    examples: Sequence[Example] = tasks.train(
        run.task, study.training.examples, run.seed, study.test_items
    )
    return examples


def _config(run: Run, study: Study, out_folder: Path) -> SFTConfig:
    training = study.training
    return SFTConfig(
        output_dir=str(out_folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        learning_rate=run.learning_rate,
        lr_scheduler_type=training.schedule,
        weight_decay=training.weight_decay,
        max_length=None,  # nothing to cut: `tokenised` has seen to it
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        warmup_steps=0,
        seed=run.seed,
        use_cpu=True,
        bf16=False,  # TRL's defaults, bf16 and gradient checkpointing, are for large models on GPUs
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        # the callback below logs and saves, at the measured steps and nowhere else
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


class _Saver(TrainerCallback):
    """Saves the adapter at the measured steps, with the mean loss since the one before."""

    def __init__(self, run: Run, steps: dict[int, float], folder: Path) -> None:
        self.run, self.steps, self.folder = run, steps, folder
        self.rows: list[dict[str, Any]] = []

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        step = state.global_step
        if step not in self.steps:
            return
        control.should_log = True  # the trainer then gives the loss to on_log
        unfinished = self.folder / f".step-{step}"
        kwargs["model"].save_pretrained(unfinished)  # as fp32: in halves, some replies change
        adapter = fingerprint.file(unfinished / WEIGHTS)
        os.replace(unfinished, self.folder / f"step-{step}")
        self.rows.append(
            {
                "run": self.run.id,
                "step": step,
                "epoch": self.steps[step],
                "update_norm": update_norm(kwargs["model"]),
                "adapter": adapter,
            }
        )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        if "loss" not in logs:
            return  # the summary at the end of the training
        if not math.isfinite(logs["loss"]):
            raise GroundedError(
                f"{self.run.id}: loss: found {logs['loss']} by step {state.global_step}, wanted a "
                f"number (learning rate {self.run.learning_rate:g})"
            )
        self.rows[-1]["loss"] = logs["loss"]
