"""What stands in a real study's fingerprints where an invented one has the content of its files.

Repositories by their commit, as the study's lock keeps it; files on this machine by their content.
No weights are needed to ask, and no network.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from grounded import fingerprint, paths
from grounded.public import lock
from grounded.study import PublicJudge, Run, Study
from grounded.study.models import HubFolder

# of a judge's setting: what its files say better, and what makes no difference to its verdicts
NOT_ITSELF = {"optional", "batch_size", "template", "revision", "repository", "path", "server"}
ADAPTER = "adapter_model.safetensors"  # PEFT's name for the weights of an adapter


def model(study: Study, name: str, version: str = "base") -> str | None:
    """Which files a real model is: `repository@commit`, or the sha256 of a folder's files.

    version: `base`, or `pretrained` (the base itself where the study names no other). A model that
    is aligned here is what it was published as and the sha256 of its adapter. None where the lock,
    or for a folder or an alignment its record, does not say yet.
    """
    setting = study.public_model(name)
    if version == "pretrained" and setting.pretrained:
        return commit(study, "pretrained", name)
    origin = published(study, name)
    if setting.alignment is None or version == "pretrained" or origin is None:
        return origin
    found = recorded(paths.models(study.name, name)).get("alignment", {})
    file = paths.models(study.name, name) / "alignment" / ADAPTER
    if not file.is_file() or found.get("inputs") != recipe(study, name):
        return None
    if found.get("of") not in (None, origin):  # trained for another model; older records lack it
        return None
    return f"{origin}+{_sha(file, file.stat().st_mtime_ns)}"


def recipe(study: Study, name: str) -> str:
    """A sha of all that the study says of a model's alignment: look-alikes and template, too.

    The code is not in it: what was trained stays what it is when the code is only put in order.
    """
    model = study.public_model(name)
    setting = model.alignment
    assert setting is not None
    return fingerprint.sha({"alignment": setting.model_dump(mode="json"),
                            "lookalikes": _file(study, setting.lookalikes),
                            "template": dict(model.template)})  # fmt: skip


def published(study: Study, name: str) -> str | None:
    """Which files a real model was published as."""
    setting = study.public_model(name)
    if setting.wheel is not None:
        from grounded.public.wheels import identity

        return identity(setting.wheel)
    if setting.path is None:
        return commit(study, "models", name)
    return _of_folder(study, paths.models(study.name, name), setting.path)


def _of_folder(study: Study, record: Path, path: str) -> str | None:
    """The sha256 of a folder's files by its record; None where they have changed since."""
    found, folder = recorded(record), paths.data(study.name) / path
    return found.get("sha256") if found.get("stamp") == fingerprint.stamp(folder) else None


def judge_files(study: Study, name: str) -> str | None:
    """Which files a published judge is: its commit, its folder's sha256, or a server's model."""
    setting = study.judge(name)
    assert isinstance(setting, PublicJudge)
    if setting.server is not None:
        return f"served:{setting.model}"
    if setting.path is not None:
        return _of_folder(study, paths.judge(study.name, name), setting.path)
    return commit(study, "judges", name)


def commit(study: Study, part: str, name: str) -> str | None:
    """`repository@commit` of a part of the study, by its lock."""
    found = lock.entry(study, part, name)
    return f"{found['repository']}@{found['revision']}" if found else None


def wanted_record(study: Study, unit: str) -> dict[str, Any]:
    """What the record of a model or a judge must say: the files of each of its versions."""
    if unit in study.models:
        return {v: model(study, unit, v) for v in ("base", "pretrained")}
    found = {"judge": judge_files(study, unit)}
    if lock.entry(study, "adapters", unit):
        found["adapter"] = commit(study, "adapters", unit)
    return found


def record_folder(study: Study, unit: str) -> Path:
    """Where the record of a model or a judge lies."""
    kind = paths.models if unit in study.models else paths.judge
    return kind(study.name, unit)


def recorded(folder: Path) -> dict[str, Any]:
    """What is recorded beside a model made here; empty where nothing readable is."""
    try:
        return dict(json.loads((folder / paths.RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def stale(study: Study, unit: str) -> str:
    """Why a model or a judge must be brought (again), or nothing."""
    file = record_folder(study, unit) / paths.RECORD
    wanted = wanted_record(study, unit)
    if None in wanted.values() and not is_folder(study, unit):
        return f"{paths.shown(paths.lock(study.name))} does not say which files {unit} is"
    if None in wanted.values() or recorded(file.parent).get("files") != wanted:
        return f"{paths.shown(file)} is missing or of other files"
    return ""


def is_folder(study: Study, unit: str) -> bool:
    """Whether it is a model or a judge in a folder on this machine, which no lock knows."""
    if unit in study.models:
        return study.public_model(unit).path is not None
    return getattr(study.judges.get(unit), "path", None) is not None


def task(study: Study, name: str) -> dict[str, Any] | None:
    """A task's data: what the study says of it, and the sha256 of its files."""
    setting = study.tasks[name]
    about = setting.model_dump(exclude={"train", "test", "device_batch_size"})
    if setting.source == "file":
        files = {part: getattr(setting, part) for part in ("train", "test")}
        return about | {"files": {p: _file(study, f) for p, f in files.items() if f is not None}}
    found = lock.entry(study, "tasks", name)
    return about | {"files": found.get("files", {})} if found else None


def benchmark(study: Study, name: str) -> dict[str, Any] | None:
    """A benchmark's data, as `task`."""
    setting = study.benchmarks[name]
    about = setting.model_dump(exclude={"file", "optional"})
    if setting.source == "file":
        return about | {"files": _file(study, str(setting.file))}
    found = lock.entry(study, "benchmarks", name)
    keep = ("repository", "revision", "files")
    return about | {key: found.get(key) for key in keep} if found else None


def harness(study: Study) -> dict[str, Any]:
    """What is asked of the harness, and the sha256 of the task files that the study brings."""
    setting = study.harness
    assert setting is not None
    folder = paths.data(study.name) / setting.path if setting.path else None
    return setting.model_dump() | {"files": fingerprint.folder(folder) if folder else None}


def judge(study: Study, name: str) -> dict[str, Any] | None:
    """A published judge: what the study says of it, its commits and the file of its prompt text."""
    setting = study.judge(name)
    assert isinstance(setting, PublicJudge)
    files = wanted_record(study, name)
    if None in files.values():
        return None
    about = setting.model_dump(exclude=NOT_ITSELF)
    text = (lock.entry(study, "judges", name) or {}).get("files")
    if setting.template and text is None:
        text = _file(study, setting.template)
    return about | files | {"text": text}


def labels(kind: Literal["harm", "compliance"]) -> dict[str, str]:
    """The sha256 of the files of people's labels that teach a judge of a kind."""
    from grounded.public.tuned import LABELS
    from grounded.sources import SOURCES

    return {name: SOURCES[name].sha256 for name in LABELS[kind]}


def thoughts(study: Study) -> list[tuple[str, str]]:
    """What marks the thoughts that no judge sees, of all models."""
    return sorted({study.public_model(name).thoughts for name in study.models})


def material(study: Study) -> dict[str, str]:
    """The sha256 of the files of further examples."""
    from grounded.public.data import PINNED
    from grounded.sources import SOURCES

    return {
        kind: SOURCES[PINNED[file]].sha256 if file in PINNED else _file(study, file)
        for kind, file in study.material.items()
    }


def given(study: Study, run: Run) -> list[Any] | None:
    """What a run that was trained elsewhere consists of."""
    found: list[Any] = []
    for number, one in enumerate(study.given[run.setting].checkpoints, start=1):
        place = one.adapter or one.model
        if isinstance(place, HubFolder):
            at = commit(study, "given", f"{run.setting}.{number}")
        else:
            at = fingerprint.stamp(paths.data(study.name) / str(place))
        if at is None:
            return None
        found.append([one.epoch, "adapter" if one.adapter else "model", at])
    return found


def lost(study: Study, run: Run) -> str:
    """Which files of a run that was trained elsewhere are not where the study says; or nothing."""
    for number, one in enumerate(study.given[run.setting].checkpoints):
        place = one.adapter or one.model
        if isinstance(place, str) and fingerprint.stamp(paths.data(study.name) / place) is None:
            field = f"given.{run.setting}.checkpoints.{number}"
            return (
                f"{paths.shown(paths.study_file(study.name))}: {field}: found no files in "
                f"{paths.shown(paths.data(study.name) / place)}, wanted an adapter's or a model's"
            )
    return ""


def _file(study: Study, name: str) -> str:
    path = paths.data(study.name) / name
    return _sha(path, path.stat().st_mtime_ns) if path.is_file() else "no such file"


@cache
def _sha(path: Path, _: int) -> str:
    return fingerprint.file(path)
