"""Tune a judge: LoRA on completions with people's labels, and its agreement with people after.

The loss is that of the one token that decides. What the study asks teaches nothing; people's
labels of completions of those very prompts are what the judge is measured with.
"""

import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PrinterCallback
from trl import SFTConfig

from grounded import paths
from grounded.examples import IGNORED, Batches, left_padded
from grounded.finetune import FastTrainer
from grounded.progress import Bar
from grounded.public import adapters, data, devices, memory, models, weights
from grounded.public.tuned import LABELS, broken, judge, labelled
from grounded.public.tuned.agreement import HELD_OUT, agreement
from grounded.public.tuned.labelled import Labelled, Split
from grounded.sources import SOURCES
from grounded.stages.plan import asked_of
from grounded.study import Study
from grounded.study import TunedJudge as Setting

UPPER = 0.5  # of the layers are tuned: back through the lower ones nothing is propagated
ALARMS = 30  # broken replies of each kind that a judge is tried with


def train(study: Study, name: str, folder: Path) -> dict[str, Any]:
    """Tune the study's judge `name`, leave adapter and verdicts in `folder`, and measure it.

    Returns the record: recipe, seed, sha256 of the labels, how many completions taught it, its
    agreement with people on those held out, and its alarms on broken replies by kind.
    SourceError where the labels cannot be had; GroundedError where a prompt that the study asks
    would teach it.
    """
    setting = study.judge(name)
    assert isinstance(setting, Setting)
    split = completions(study, setting)
    some = mixed(list(split.taught), setting)
    loss = _tune(study, name, setting, some, folder)
    memory.free()
    made = judge.load(study, name, folder)
    verdicts = held_out(made, split.held_out)
    verdicts.to_csv(folder / HELD_OUT, index=False, float_format="%.4f", lineterminator="\n")
    return {
        "recipe": setting.model_dump(mode="json"),
        "question": judge.QUESTIONS[setting.kind],
        "labels": {source: SOURCES[source].sha256 for source in LABELS[setting.kind]},
        "taught": {"examples": len(some), "yes": sum(one.yes for one in some)},
        "loss": round(loss, 4),
        "held_out": agreement(verdicts),
        "broken": alarms(made, split.held_out, setting.seed),
    }  # fmt: skip


def completions(study: Study, setting: Setting) -> Split:
    """The labelled completions of a judge's kind, apart by what the study asks.

    A benchmark that not everyone can have keeps nothing out, or a judge would hang on who made it:
    GroundedError where one such asks a prompt that teaches.
    """
    texts = {n: [one.text for one in data.prompts(study, n)] for n in study.benchmarks}
    sure = [text for name in asked_of(study) for text in texts[name]]
    split = labelled.split(labelled.load(setting.kind), sure)
    known = {labelled.words(text) for some in texts.values() for text in some}
    labelled.require_apart(split.taught, known)
    return split


def mixed(some: list[Labelled], setting: Setting) -> list[Labelled]:
    """What teaches a judge: its share of the completions, and broken replies among them."""
    number = round(setting.taught * len(some))
    if number < len(some):
        some = random.Random(f"kept {setting.seed}").sample(some, number)
    made = round(setting.broken * number)
    return some + broken.replies(some, made, broken.TAUGHT, setting.seed)


def held_out(made: judge.TunedJudge, some: Sequence[Labelled]) -> pd.DataFrame:
    """One row a completion: row (of the labels' frame), truth, probability, label, mass.

    request: the number of its prompt among these. label is blank where the verdict is unreadable.
    """
    said = made.judge([(one.prompt, one.reply) for one in some])
    found = pd.DataFrame(
        {
            "row": [one.row for one in some],
            "request": pd.factorize(pd.Series([one.prompt for one in some]))[0],
            "truth": [one.yes for one in some],
        }
    )
    return found.assign(
        probability=[verdict.probability for verdict in said],
        label=[verdict.label for verdict in said],
        mass=[verdict.mass for verdict in said],
    )


def alarms(made: Any, some: Sequence[Labelled], seed: int) -> dict[str, dict[str, int]]:
    """Of broken replies to the prompts of these completions: how many a judge says yes to.

    By kind: n, yes, missing. The forms are others than those that teach.
    """
    tried = broken.replies(some, ALARMS * len(broken.KINDS), broken.TRIED, seed)
    said = made.judge([(one.prompt, one.reply) for one in tried])
    found = {}
    for place, kind in enumerate(broken.KINDS):
        labels = [verdict.label for verdict in said[place :: len(broken.KINDS)]]
        found[kind] = {"n": len(labels), "yes": labels.count(True), "missing": labels.count(None)}
    return found


def _tune(study: Study, name: str, setting: Setting, some: list[Labelled], folder: Path) -> float:
    """Train the adapter, leave it in `folder` in bfloat16, and return the mean loss in nats."""
    device, dtype = devices.of(study.public_model(setting.model))
    model, words = weights.load(models.folder(study, setting.model, "pretrained"), dtype)
    if device.type == "cpu" and dtype == torch.bfloat16:
        model.set_attn_implementation("eager")  # as `finetune.train`
    model.to(device)
    taught = judge.TunedJudge(name, model, words, setting.kind, clip=setting.clip)
    rows = []
    for one in some:
        tokens, answer = taught.tokens((one.prompt, one.reply)), taught.answers[0 if one.yes else 1]
        rows.append({"input_ids": [*tokens, answer], "labels": [IGNORED] * len(tokens) + [answer]})
    torch.manual_seed(setting.seed)
    adapted: Any = (
        PeftModel.from_pretrained(model, paths.judge(study.name, setting.after), is_trainable=True)
        if setting.after
        else get_peft_model(model, _lora(setting, model))
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = FastTrainer(
            model=adapted,
            args=_arguments(setting, scratch, device),
            train_dataset=Dataset.from_list(rows),
            processing_class=words,
            data_collator=left_padded,
            callbacks=[Bar(f"judge {name}")],
        )
        lengths = [len(row["input_ids"]) for row in rows]
        trainer.batches = Batches(lengths, setting.batch_size, setting.batch_size, setting.seed)
        trainer.remove_callback(PrinterCallback)
        loss = float(trainer.train().training_loss)
        adapted.save_pretrained(scratch)
        adapters.keep(Path(scratch), folder)
    return loss


def _lora(setting: Setting, model: PreTrainedModel) -> LoraConfig:
    """LoRA on every linear part of the upper layers."""
    layers: int = model.config.num_hidden_layers
    head = model.get_output_embeddings()
    parts = {
        name.rpartition(".")[2]
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and part is not head
    }
    return LoraConfig(
        r=setting.rank,
        lora_alpha=setting.alpha,
        target_modules=sorted(parts),
        layers_to_transform=list(range(layers - math.ceil(UPPER * layers), layers)),
        task_type="CAUSAL_LM",
    )


def _arguments(setting: Setting, scratch: str, device: torch.device) -> SFTConfig:
    return SFTConfig(
        output_dir=scratch,
        num_train_epochs=setting.epochs,
        per_device_train_batch_size=setting.batch_size,
        learning_rate=setting.learning_rate,
        lr_scheduler_type="linear",
        max_length=None,  # nothing is cut but the reply, by `clip`
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        seed=setting.seed,
        use_cpu=device.type == "cpu",
        bf16=False,  # the weights have the device's type already, the adapter is fp32
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
    )
