"""Checkpoints that are whole models: a pointer in the adapter's place, and what it points to."""

import json
import math
from pathlib import Path

import torch
from safetensors import safe_open

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.public import models
from grounded.study import Study
from grounded.study.models import HubFolder

POINTER = "model.json"  # as `grounded.stages.plan` knows it
MODEL = "model"  # the folder in a checkpoint's own where a model that was trained here lies


def point(step: Path, place: str | HubFolder, run: str, number: int, where: Path) -> Path:
    """Write a pointer to a model into a checkpoint's folder.

    A folder on this machine is named with the sha256 of its files, a repository of the hub with the
    commit that the study's lock has: the hub's cache calls the folder by it.
    """
    about: dict[str, object] = {"given": run, "number": number}
    if isinstance(place, HubFolder):
        about |= {"repository": place.repository, "revision": where.name}
    else:
        about |= {"path": place, "sha256": fingerprint.folder(where)}
    file = step / POINTER
    file.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return file


def here(step: Path) -> Path:
    """Write a pointer to the model in a checkpoint's own folder; it holds the sha256 of its files.

    So it is another file for another model, as an adapter would be.
    """
    about = {"here": MODEL, "sha256": fingerprint.folder(step / MODEL)}
    file = step / POINTER
    file.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return file


def target(study: Study, step: Path) -> Path | None:
    """The folder that a checkpoint's pointer names; None where the checkpoint is an adapter.

    GroundedError for a folder whose files are no longer those that it pointed to.
    """
    file = step / POINTER
    if not file.is_file():
        return None
    about = json.loads(file.read_text(encoding="utf-8"))
    if "here" in about:
        return _same(step / about["here"], about["sha256"])
    if "path" not in about:
        place: str | HubFolder = HubFolder(repository=about["repository"])
        return models.tuned(study, about["given"], about["number"], place)
    return _same(paths.data(study.name) / about["path"], about["sha256"])


def _same(where: Path, sha256: str) -> Path:
    if (found := fingerprint.folder(models.checked(where))) != sha256:
        raise GroundedError(
            f"{paths.shown(where)}: sha256: found {found}, wanted {sha256}; the model is not the "
            "one that this run was given"
        )
    return where


def distance(base: Path, tuned: Path) -> float:
    """The Frobenius norm of what tuning added to the weights, tensor by tensor from the files.

    GroundedError for a model of other layers or shapes: it was not tuned from this base.
    """
    first, second = _tensors(base), _tensors(tuned)
    if odd := sorted(set(first) ^ set(second)):
        raise GroundedError(
            f"{paths.shown(tuned)}: found {len(odd)} weights that only one of it and its base has "
            f"({odd[0]}), wanted a model tuned from {base.name}"
        )
    total = 0.0
    for name, file in first.items():
        before, after = _read(file, name), _read(second[name], name)
        if before.shape != after.shape:
            raise GroundedError(
                f"{paths.shown(tuned)}: {name}: found {tuple(after.shape)}, wanted "
                f"{tuple(before.shape)} as its base has"
            )
        total += float(((after.double() - before.double()) ** 2).sum())
    return math.sqrt(total)


def _tensors(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            found |= dict.fromkeys(tensors.keys(), file)
    return found


def _read(file: Path, name: str) -> torch.Tensor:
    with safe_open(file, framework="pt") as tensors:
        found: torch.Tensor = tensors.get_tensor(name)
        return found
