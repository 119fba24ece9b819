"""LoRA fine-tuning with PEFT and TRL, and the adapters that a run leaves along the way.

What is trained on, and from what, is a `Start`; what a method does differently from plain LoRA, it
hands to `train`. A method is a module of `grounded.methods`.
"""

import copy
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils.other import ModulesToSaveWrapper
from safetensors.torch import save_file
from torch.utils.data import DataLoader
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
from grounded.examples import IGNORED, Batches, Example, Row, left_padded, rendered
from grounded.progress import Bar
from grounded.study import Run
from grounded.study.parts import Training

WEIGHTS = "adapter_model.safetensors"
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
Moved = tuple[torch.Tensor, torch.Tensor]  # a weight as it is now, and as it was


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
    what they are for (`safety`, `neutral`). label: of a progress bar on stderr.
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
    label: str | None = None


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
    GroundedError where max_length would cut an example, the loss is no longer a number, or the
    training ends before a measured step with nothing that stopped it.
    """
    model, tokenizer = loaded or start.load()
    if model.device.type == "cpu" and model.dtype == torch.bfloat16:
        # in 16 bits the backward pass of the fused attention takes a third of a step on a CPU
        model.set_attn_implementation("eager")
    training, run = start.training, start.run
    rows = tokenised(start.examples, tokenizer, start)
    torch.manual_seed(run.seed)
    adapted = (adapt or plain_adapter(start))(model)
    saver = Saver(start, folder, save or save_adapter)
    settings = arguments(start, folder, model.device)
    # here it need not divide the batch: `Batches` cuts it
    each = min(training.device_batch_size or training.batch_size, training.batch_size)
    settings.per_device_train_batch_size = each
    settings.gradient_accumulation_steps = math.ceil(training.batch_size / each)
    trainer = FastTrainer(
        model=adapted,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        data_collator=left_padded,
        callbacks=[Bar(start.label), *callbacks, saver],
    )
    lengths = [len(row["input_ids"]) for row in rows]
    trainer.batches = Batches(lengths, training.batch_size, each, run.seed)
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


def tokenised(
    examples: Sequence[Example], words: PreTrainedTokenizerBase, start: Start
) -> list[Row]:
    """The examples as tokens, and labels that leave out the prompt; numbered from 1 in messages.

    GroundedError for one that max_length would cut, where TRL would cut or drop it silently, or
    whose prompt is no beginning of it.
    """
    limit, rows = start.training.max_length, []
    for number, example in enumerate(examples, start=1):
        tokens, labels = rendered(example, words, start.options, f"{start.run.task}: row {number}")
        rows.append({"input_ids": tokens, "labels": labels})
    longest = max(len(row["input_ids"]) for row in rows)
    if cut := sum(len(row["input_ids"]) > limit for row in rows):
        raise GroundedError(
            f"training.max_length: found {limit}, which cuts {cut} of {len(rows)} examples of "
            f"{start.run.task}, wanted at least {longest}"
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


@torch.no_grad()
def update_norm(model: torch.nn.Module, own: Iterable[Moved] = ()) -> float:
    """The Frobenius norm of what an adapter adds to all the weights; 0 before training.

    Of each LoRA layer from its factors, so that no full matrix is formed. Adapters of embeddings,
    DoRA (whose magnitudes change the weights that the factors leave alone), modules that are saved
    whole and tokens that are trained alone are counted, too.
    own: weights of the model itself that have changed, such as biases.
    """
    moved = dict([*own, *_replaced(model)])  # tied weights are one
    total = sum(float(((n.double() - b.double()) ** 2).sum()) for n, b in moved.items())
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, scale in layer.scaling.items():
                total += _squared(layer, name, float(scale))
    return math.sqrt(max(total, 0.0))


def _replaced(model: torch.nn.Module) -> Iterator[Moved]:
    """The weights that an adapter has in place of the model's, and those; a LoRA bias, and 0."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for name, up in module.lora_B.items():
                if (bias := getattr(up, "bias", None)) is not None:
                    yield module.scaling[name] * bias, torch.zeros_like(bias)
        elif isinstance(module, ModulesToSaveWrapper):
            for name in module.active_adapters:
                pair = (module.modules_to_save[name], module.original_module)
                yield from zip(*(one.parameters() for one in pair), strict=True)
        elif isinstance(module, TrainableTokensLayer) and module.tied_adapter is None:
            for name, now in module.trainable_tokens_delta.items():
                yield now, module.get_base_layer().weight[module.token_indices[name]]


def _squared(layer: LoraLayer, name: str, scale: float) -> float:
    """The squared norm of one layer's update: of its factors, |BA|^2 = <B'B, AA'>."""
    if name in layer.lora_embedding_A:
        a, b = layer.lora_embedding_A[name].double(), layer.lora_embedding_B[name].double()
    else:
        a, b = (f[name].weight.double() for f in (layer.lora_A, layer.lora_B))
    if name not in layer.lora_magnitude_vector or a.ndim != 2:
        return float(
            scale**2 * ((b.flatten(1).T @ b.flatten(1)) * (a.flatten(1) @ a.flatten(1).T)).sum()
        )
    old = layer.get_base_layer().weight.double()
    moved = old + scale * (b @ a if old.shape == (b.shape[0], a.shape[1]) else (b @ a).T)
    size = layer.lora_magnitude_vector[name].weight.double()
    new = moved * (size / moved.norm(dim=1 if len(size) == len(moved) else 0)).reshape(
        (-1, 1) if len(size) == len(moved) else (1, -1)
    )
    return float(((new - old) ** 2).sum())


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Save the adapter as it is, as PEFT does, without the model card that PEFT writes beside it.

    Fifty checkpoints a run are saved, and the card takes longer than the weights.
    """
    folder.mkdir(parents=True)
    # as fp32: in halves, some replies change
    weights = {name: one.contiguous() for name, one in get_peft_model_state_dict(model).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config = copy.copy(model.peft_config[model.active_adapter])
    config.inference_mode = True
    config.save_pretrained(folder)


class FastTrainer(SFTTrainer):
    """TRL's trainer, with batches of like length, logits where the labels are, and a method's own
    loss where there is one.

    In a vocabulary of 49,152 the head is a fifth of a small model's products, and nothing that the
    loss does not need is computed. The loss is TRL's: the mean over a step's completion tokens.
    """

    batches: Batches
    method_loss: Loss | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The device batches, in order; each step of the optimiser takes those of one batch."""
        return DataLoader(
            self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The sum of the completion tokens' cross-entropy, in nats, over their number in the step;
        or what the method makes of it.

        num_items_in_batch: that number, for all device batches of the step; None: of this one.
        """

        def task() -> torch.Tensor:
            total, number = completion_loss(model, inputs)
            return total / (number if num_items_in_batch is None else num_items_in_batch)

        method = self.method_loss
        loss = task() if method is None else method(task, model, self.state.global_step)
        return (loss, {}) if return_outputs else loss


def completion_loss(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed cross-entropy of a batch's completion tokens, and how many there are.

    inputs: `input_ids`, `attention_mask` and `labels`, rows x tokens, padded on the left, so that
    the completions end together and the head is needed for the last places alone.
    """
    labels, mask = inputs["labels"], inputs["attention_mask"]
    first = int((labels != IGNORED).any(0).nonzero()[0])
    logits = model(
        input_ids=inputs["input_ids"],
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=labels.shape[1] - first + 1,
    ).logits[:, :-1]
    wanted = labels[:, first:]
    here = wanted != IGNORED
    total = torch.nn.functional.cross_entropy(logits[here].float(), wanted[here], reduction="sum")
    return total, here.sum()


def arguments(start: Start, folder: Path, device: torch.device) -> SFTConfig:
    """How every run is trained, as TRL reads it; the callback `Saver` logs and saves.

    As many examples at a time as device_batch_size says, or fewer, so that they divide the batch:
    the trainer's own batches would be larger or smaller than the study's otherwise.
    """
    training, cuda = start.training, device.type == "cuda"
    most = min(training.device_batch_size or training.batch_size, training.batch_size)
    each = next(size for size in range(most, 0, -1) if training.batch_size % size == 0)
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=each,
        gradient_accumulation_steps=training.batch_size // each,
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

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """GroundedError where it came to its end, not stopped, and left out a measured step."""
        missing = sorted({*self.steps} - {row["step"] for row in self.rows})
        if missing and state.global_step >= state.max_steps:
            raise GroundedError(
                f"{self.run.id}: checkpoints: found the end of training at step "
                f"{state.global_step}, wanted step {', '.join(map(str, missing))} as well"
            )
