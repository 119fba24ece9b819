"""Where everything lies. Each function reads GROUNDED_HOME when called; none creates a folder."""

import os
from functools import cache as remembered
from pathlib import Path

RECORD = "record.json"  # of a model: its inputs, its files' sha, its acceptance


@remembered
def repository() -> Path:
    """The folder that holds lib/ and notebooks/."""
    return Path(__file__).resolve().parents[2]


def home() -> Path:
    """The folder that holds data/, figures/ and .cache/: GROUNDED_HOME, or the repository."""
    return _resolved(os.environ.get("GROUNDED_HOME") or repository(), Path.cwd())


@remembered
def _resolved(place: str | Path, cwd: Path) -> Path:
    return (cwd / place).resolve()


def shown(path: Path) -> str:
    """`path` as a message names it: relative to home where it lies there."""
    return str(path.relative_to(home()) if path.is_relative_to(home()) else path)


def notebook(name: str) -> Path:
    """The committed notebook of that name, without its suffix."""
    return repository() / "notebooks" / f"{name}.ipynb"


def data(study: str) -> Path:
    """The folder of a study: what it asks, its models and its tables."""
    return home() / "data" / study


def study_file(study: str) -> Path:
    """The YAML file that defines a study."""
    return data(study) / "study.yaml"


def lock(study: str) -> Path:
    """What a study's names stood for at its first run: revisions, sha256, what was absent."""
    return data(study) / "lock.json"


def models(study: str, name: str) -> Path:
    """The folder of a model: its versions, or of a real one, which lies elsewhere, its record."""
    return data(study) / "models" / name


def model(study: str, name: str, version: str = "base") -> Path:
    """A model's folder; version is `pretrained` or `base` (aligned)."""
    return models(study, name) / version


def judge(study: str, name: str) -> Path:
    """The folder of a judge trained in the study, or of the record of a published one."""
    return data(study) / "judges" / name


def table(study: str, name: str, unit: str) -> Path:
    """The file of one table for one unit (`<model>-<task>` or `<model>-base`), to be read.

    Of a study of real models git keeps the form without texts; where the whole one is not on this
    machine, it is that one.
    """
    whole, without_texts = data(study) / name / f"{unit}.parquet", redacted(study, name, unit)
    return without_texts if without_texts.exists() and not whole.exists() else whole


def redacted(study: str, name: str, unit: str) -> Path:
    """The committed form of a table of real models: the sha256 of each text in its place."""
    return data(study) / "redacted" / name / f"{unit}.parquet"


def written(table: Path) -> Path:
    """Where a table is written that was read from `table`: never in the place of a redacted one."""
    folder = table.parent.parent
    return folder.parent / table.parent.name / table.name if folder.name == "redacted" else table


def figures(study: str) -> Path:
    """The folder of a study's figures, with their numbers and statistics."""
    return home() / "figures" / study


def cache(study: str) -> Path:
    """What can be made again: adapters, finished parts, executed notebooks."""
    return home() / ".cache" / study


def part(study: str, name: str, run: str) -> Path:
    """The finished rows of one run, before the table of its unit is assembled."""
    return cache(study) / "parts" / name / f"{run}.parquet"


def adapters(study: str, run: str) -> Path:
    """The folder with a run's adapters, one folder `step-<n>` a checkpoint."""
    return cache(study) / "adapters" / run


def adapter(study: str, run: str, step: int) -> Path:
    """The adapter of one checkpoint, in PEFT's format."""
    return adapters(study, run) / f"step-{step}"
