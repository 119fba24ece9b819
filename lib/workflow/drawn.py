"""Which figures show what the tables hold now: from a record in the cache, by content.

A fresh clone has no such record, and draws every figure once.
"""

import json
import os
import re
from pathlib import Path

from grounded import fingerprint, paths
from grounded.records import replacing
from grounded.study import Study
from workflow import notebooks

KINDS = (".png", ".svg", ".csv", ".json")


def stale(study: Study) -> list[str]:
    """The figure notebooks to run: their inputs differ, or a file is missing or was changed."""
    data = fingerprint.results(study.name)
    return [
        name
        for name in notebooks.figure_notebooks()
        if missing(study, name) or _record(study, name) != _state(study, name, data)
    ]


def missing(study: Study, name: str) -> list[str]:
    """The files that a figure notebook should leave and that are not there."""
    wanted = (paths.figures(study.name) / f"{_figure(name)}{kind}" for kind in KINDS)
    return [paths.shown(file) for file in wanted if not file.is_file()]


def remember(study: Study, name: str) -> None:
    """Record that a figure was drawn from the inputs as they are."""
    file = _record_file(study, name)
    with replacing(file) as temporary:
        data = fingerprint.results(study.name)
        temporary.write_text(json.dumps(_state(study, name, data)))


def _state(study: Study, name: str, data: str | None) -> dict[str, object]:
    """All that a figure is drawn from, and the files that were drawn; data: the study's sha."""
    source = paths.notebook(name)
    used = [module for cell in fingerprint.cells(source) for module in fingerprint.imports(cell)]
    public = "grounded.sources" in fingerprint.modules(*used)
    inputs = {
        "code": fingerprint.code(*used, notebook=source),
        "data": data,
        "packages": fingerprint.file(paths.repository() / "requirements.lock"),
        "redacted": fingerprint.folder(paths.data(study.name) / "redacted"),
        "mirror": os.environ.get("GROUNDED_MIRROR", "") if public else "",
    }
    drawn = sorted(paths.figures(study.name).glob(f"{_figure(name)}*"))
    return {
        "inputs": fingerprint.sha(inputs),
        "files": {file.name: fingerprint.file(file) for file in drawn},
    }


def _figure(name: str) -> str:
    """The name of the files that a notebook draws: its own, without a leading number."""
    return re.sub(r"^\d+_", "", name)


def _record_file(study: Study, name: str) -> Path:
    return paths.cache(study.name) / "drawn" / f"{name}.json"


def _record(study: Study, name: str) -> object:
    try:
        return json.loads(_record_file(study, name).read_text())
    except (OSError, ValueError):
        return None
