"""LoRA fine-tuning with PEFT and TRL, and the adapters that a run leaves along the way.

What is trained on, and from what, is a `Start`; what a method does differently from plain LoRA, it
hands to `train`. A method is a module of `grounded.methods`.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from grounded import fingerprint
from grounded.errors import GroundedError
from grounded.study import Run
from grounded.study.parts import Training

WEIGHTS = "adapter_model.safetensors"
IGNORED = -100  # the label of a token that the loss leaves out
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


class Example(Protocol):
    """What a model is trained on: the user's turn and the assistant's."""

    @property
    def prompt(self) -> str: ...  # noqa: D102
    @property
    def completion(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Start:
    """What a run is trained from, as its world gives it.

    steps: optimiser step -> epoch of each measured checkpoint. load: the base model, on its device;
    pretrained: the model before alignment. examples: what is trained on. material: so many further
    examples of a kind (`refusals` of harmful requests, `benign` requests answered, `harmful` ones
    answered, `general` abilities), none of them asked in a test or a benchmark; GroundedError where
    the study has none. monitor: accuracy (0..1) of a model on selecting items, of the `task` or
    `general`. plain: the checkpoints of plain LoRA at the same setting and seed, where they are
    there already. options: what the chat template is told. prefixes: words before a prompt, by
    what they are for (`safety`, `neutral`).
    """

    run: Run
    training: Training
    steps: Mapping[int, float]
    steps_per_epoch: int
    load: Callable[[], Loaded]
    pretrained: Callable[[], PreTrainedModel]
    examples: Sequence[Example]
    material: Callable[[str, int], Sequence[Example]]
    monitor: Callable[[str, PreTrainedModel, PreTrainedTokenizerBase], float]
    plain: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)


Adapt = Callable[[PreTrainedModel], PeftModel]
Loss = Callable[[Callable[[], torch.Tensor], torch.nn.Module, int], torch.Tensor]
Save = Callable[[PeftModel, Path], None]


def train(
    start: Start,
    folder: Path,
    *,
    loaded: Loaded | None = None,
    adapt: Adapt | None = None,
    loss: Loss | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    save: Save | None = None,
) -> pd.DataFrame:
    """Train one run; returns its rows of the table `checkpoints`, one for each measured step.

    The adapter of each lies in folder/step-<n>, whole or not at all. Everything that is drawn
    (adapter, order) is drawn from the run's seed.
    loaded: model and tokenizer, in place of `start.load`. adapt: puts the adapter on the model;
    default LoRA of the run's rank on training.target_modules. loss: from a call that gives the
    task's loss, the model and the step (from 0) to the loss of that step. callbacks: the
    trainer's; where one stops it, that step is a checkpoint too. save: writes an ordinary adapter
    of the unchanged base model; default the adapter as it is.
    GroundedError where the number of examples is not the study's, max_length would cut one, or
    the loss is no longer a number.
    """
    model, tokenizer = loaded or start.load()
    rows = tokenised(start.examples, tokenizer, start)
    torch.manual_seed(start.run.seed)
    adapted = (adapt or plain_adapter(start))(model)
    saver = Saver(start, folder, save or save_adapter)
    trainer = _Trainer(
        model=adapted,
        args=arguments(start, folder, model.device),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[*callbacks, saver],
    )
    trainer.method_loss = loss
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return pd.DataFrame(saver.rows)


def plain_adapter(start: Start) -> Adapt:
    """Plain LoRA of the run's rank and alpha on all that the study targets."""
    run, training = start.run, start.training
    config = LoraConfig(
        r=run.rank,
        lora_alpha=run.alpha,
        lora_dropout=training.dropout,
        target_modules=training.target_modules,
        task_type="CAUSAL_LM",
    )

    def adapt(model: PreTrainedModel) -> PeftModel:
        adapted = get_peft_model(model, config)
        assert isinstance(adapted, PeftModel)
        return adapted

    return adapt


def rendered(
    example: Example, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any], name: str
) -> tuple[list[int], list[int]]:
    """The tokens of an example's dialogue, and its labels, which leave out the prompt.

    GroundedError for a chat template that does more than append the answer.
    """
    chat = [{"role": "user", "content": example.prompt}]
    answer = {"role": "assistant", "content": example.completion}
    prompt, whole = (
        tokenizer(
            tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=turns is chat, **options
            ),
            add_special_tokens=False,  # the template writes them itself
        )["input_ids"]
        for turns in (chat, [*chat, answer])
    )
    if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
        raise GroundedError(
            f"{name}: chat template: found a prompt that is no beginning of its dialogue, "
            "wanted a template that only appends"
        )
    return whole, [IGNORED] * len(prompt) + whole[len(prompt) :]


def tokenised(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, start: Start
) -> list[dict[str, list[int]]]:
    """The examples as TRL trains on them: tokens, and labels that leave out the prompt.

    GroundedError when max_length would cut an example, where TRL would cut or drop it silently.
    """
    run, limit = start.run, start.training.max_length
    rows = []
    for example in examples:
        tokens, labels = rendered(example, tokenizer, start.options, run.id)
        rows.append({"input_ids": tokens, "labels": labels})
    longest = max(len(row["input_ids"]) for row in rows)
    if cut := sum(len(row["input_ids"]) > limit for row in rows):
        raise GroundedError(
            f"training.max_length: found {limit}, which cuts {cut} of {len(rows)} examples of "
            f"{run.task}, wanted at least {longest}"
        )
    return rows


def batch_loss(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    options: Mapping[str, Any] | None = None,
) -> torch.Tensor:
    """The mean cross-entropy, in nats, of a batch's completion tokens."""
    rows = [rendered(one, tokenizer, options or {}, "batch") for one in examples]
    longest = max(len(tokens) for tokens, _ in rows)
    device = next(model.parameters()).device
    # a padded place is masked, so any token will do there
    ids = torch.tensor([t + [0] * (longest - len(t)) for t, _ in rows], device=device)
    mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t, _ in rows], device=device)
    labels = torch.tensor(
        [label + [IGNORED] * (longest - len(label)) for _, label in rows], device=device
    )
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED
    )


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


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Save the adapter as it is."""
    model.save_pretrained(folder)  # as fp32: in halves, some replies change


class _Trainer(SFTTrainer):
    """TRL's trainer, with a method's own loss where there is one."""

    method_loss: Loss | None = None

    def compute_loss(
        self, model: torch.nn.Module, inputs: Any, return_outputs: bool = False, **more: Any
    ) -> Any:
        """The loss of a batch: the task's, or what the method makes of it."""
        if self.method_loss is None:
            return super().compute_loss(model, inputs, return_outputs, **more)

        def task() -> torch.Tensor:
            found: torch.Tensor = super(_Trainer, self).compute_loss(model, inputs, False, **more)
            return found

        found = self.method_loss(task, model, self.state.global_step)
        return (found, {}) if return_outputs else found


def arguments(start: Start, folder: Path, device: torch.device) -> SFTConfig:
    """How every run is trained, as TRL reads it; the callback `Saver` logs and saves."""
    training, cuda = start.training, device.type == "cuda"
    each = min(training.device_batch_size or training.batch_size, training.batch_size)
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=each,
        gradient_accumulation_steps=math.ceil(training.batch_size / each),
        learning_rate=start.run.learning_rate,
        lr_scheduler_type=training.schedule,
        weight_decay=training.weight_decay,
        max_length=None,  # nothing to cut: `tokenised` has seen to it
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        warmup_steps=0,
        seed=start.run.seed,
        use_cpu=not cuda,
        bf16=False,  # the weights have the device's dtype already, the adapter is fp32
        gradient_checkpointing=cuda,  # TRL's default, for large models; tiny ones need no room
        activation_checkpointing_kwargs={"use_reentrant": False},
        dataloader_pin_memory=cuda,
        # the callback below logs and saves, at the measured steps and nowhere else
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


class Saver(TrainerCallback):
    """Saves the adapter at the measured steps, with the mean loss since the one before."""

    def __init__(self, start: Start, folder: Path, save: Save) -> None:
        self.run, self.steps, self.each = start.run, start.steps, start.steps_per_epoch
        self.folder, self.save = folder, save
        self.rows: list[dict[str, Any]] = []

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Save where it is time, whole or not at all."""
        step = state.global_step
        stopped = control.should_training_stop and step < state.max_steps
        if step not in self.steps and not stopped:
            return
        control.should_log = True  # the trainer then gives the loss to on_log
        unfinished = self.folder / f".step-{step}"
        self.save(kwargs["model"], unfinished)
        adapter = fingerprint.file(unfinished / WEIGHTS)
        os.replace(unfinished, self.folder / f"step-{step}")
        self.rows.append(
            {
                "run": self.run.id,
                "step": step,
                "epoch": self.steps.get(step, step / self.each),
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
        """Put the loss to the row; GroundedError where it is no number."""
        if "loss" not in logs:
            return  # the summary at the end of the training
        if not math.isfinite(logs["loss"]):
            raise GroundedError(
                f"{self.run.id}: loss: found {logs['loss']} by step {state.global_step}, wanted a "
                f"number (learning rate {self.run.learning_rate:g})"
            )
        self.rows[-1]["loss"] = logs["loss"]
