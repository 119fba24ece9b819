"""What a real run is trained from, and how one that was trained elsewhere is put in its place."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.finetune import Start, update_norm
from grounded.public import (
    adapters,
    capability,
    data,
    devices,
    memory,
    models,
    weights,
    whole,
)
from grounded.public.prefixes import PREFIXES
from grounded.study import GIVEN, Run, Study
from grounded.study.models import HubFolder


@dataclass(frozen=True)
class Given:
    """A run that was trained elsewhere."""

    study: Study
    run: Run


def start(study: Study, run: Run) -> Start | Given:
    """All that a method may ask for: see `grounded.finetune.Start`.

    GroundedError where the task's data or the model cannot be had.
    """
    if run.method == GIVEN:
        return Given(study, run)
    training = study.training_of(run.task)
    assert training is not None
    model = study.public_model(run.model)
    task = data.task(study, run.task, run.seed)

    def monitor(what: str, tuned: PreTrainedModel, words: PreTrainedTokenizerBase) -> float:
        if what == "general":
            raise GroundedError(
                f"{run.id}: monitor: found general, wanted task: a real study names no general "
                "ability"
            )
        able = capability.answering(tuned, words, study.generation, model.template, model.thoughts)
        rows = capability.measure(able, task, task.test[::2])  # the half that may choose
        return sum(row.correct for row in rows) / len(rows)

    def pretrained() -> PreTrainedModel:
        return _load(study, run.model, "pretrained")[0]

    return Start(
        run=run,
        training=training,
        steps=study.steps_of(run.task),
        steps_per_epoch=study.steps_per_epoch(run.task),
        load=lambda: _load(study, run.model),
        pretrained=pretrained,
        examples=task.train,
        material=lambda kind, number: data.material(study, kind, number, run.seed),
        monitor=monitor,
        options=model.template,
        prefixes=PREFIXES,
        label=run.id,
    )


def finetune(start: Start | Given, folder: Path) -> pd.DataFrame:
    """The rows of `checkpoints` of a run; its adapters, or pointers to models, lie in `folder`.

    Its method trains it; where memory runs out, all of it is begun anew with half as many examples
    on the device at a time (the batch of a step stays what it was).
    Errors as `grounded.finetune.train`; GroundedError for an adapter of another base model.
    """
    if isinstance(start, Given):
        return _placed(start, folder)
    method: Callable[[Start, Path], pd.DataFrame]
    method = import_module(f"grounded.methods.{start.run.method}").finetune
    each = min(start.training.device_batch_size or start.training.batch_size,
               start.training.batch_size)  # fmt: skip
    while True:
        try:
            return method(start, folder)
        except torch.OutOfMemoryError:
            if each == 1:
                raise GroundedError(
                    f"{start.run.id}: training.device_batch_size: found no memory for one example "
                    "at a time, wanted a larger device or a smaller max_length"
                ) from None
        each //= 2
        memory.free()
        for one in folder.iterdir():
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        print(
            f"{start.run.id}: found no memory; begins anew with {each} examples at a time",
            file=sys.stderr,
        )
        training = start.training.model_copy(update={"device_batch_size": each})
        start = replace(start, training=training)


def _load(
    study: Study, name: str, version: str = "base"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    device, dtype = devices.of(study.public_model(name))
    model, words = weights.load(models.folder(study, name, version), dtype)
    return model.to(device), words


def _placed(start: Given, folder: Path) -> pd.DataFrame:
    """Copy each adapter, or point to each model, and measure how far it is from its base."""
    study, run = start.study, start.run
    base_folder = models.folder(study, run.model)
    load = cache(lambda: weights.load(base_folder)[0])
    rows = []
    for number, one in enumerate(study.given[run.setting].checkpoints, start=1):
        place = one.adapter or one.model
        assert place is not None
        where = models.tuned(study, run.setting, number, place)
        step = folder / f"step-{number}"
        if one.adapter is not None:
            file, norm = _adapter(study, run, where, step, load(), one.base)
        else:
            file, norm = _pointer(study, run, number, place, where, step, base_folder)
        rows.append(
            {"run": run.id, "step": number, "epoch": one.epoch, "loss": None,
             "update_norm": norm, "adapter": fingerprint.file(file)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _adapter(
    study: Study, run: Run, where: Path, step: Path, base: PreTrainedModel, also: str | None = None
) -> tuple[Path, float]:
    config = _config(where)
    if (kind := config.get("peft_type")) != "LORA":
        raise GroundedError(f"{paths.shown(where)}: peft_type: found {kind}, wanted LORA")
    setting, named = study.public_model(run.model), str(config.get("base_model_name_or_path"))
    # a path says nothing of what lay there; a name of the hub does
    if setting.repository and named.count("/") == 1 and named not in (setting.repository, also):
        raise GroundedError(
            f"{paths.shown(where)}: base_model_name_or_path: found {named}, wanted "
            f"{setting.repository}, the base model of this run (or the checkpoint's field `base`, "
            "where both are the same model)"
        )
    worn = adapters.put_on(base, where)
    norm = update_norm(worn.model, worn.own)
    worn.take_off()
    step.mkdir()
    for name in (adapters.CONFIG, adapters.WEIGHTS):
        shutil.copyfile(where / name, step / name)
    return step / adapters.WEIGHTS, norm


def _config(where: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads((where / adapters.CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise GroundedError(
            f"{paths.shown(where)}: found no readable {adapters.CONFIG} "
            f"({type(error).__name__}), wanted an adapter in PEFT's format"
        ) from error


def _pointer(
    study: Study,
    run: Run,
    number: int,
    place: str | HubFolder,
    where: Path,
    step: Path,
    base: Path,
) -> tuple[Path, float]:
    models.checked(where)
    norm = whole.distance(base, where)
    step.mkdir()
    return whole.point(step, place, run.setting, number, where), norm
