"""A study and the runs of its grid."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from grounded import paths
from grounded.errors import GroundedError
from grounded.study.parts import (
    BASE,
    Acceptance,
    Alignment,
    Benchmark,
    Coherence,
    Generation,
    Judge,
    KeywordJudge,
    LanguageJudge,
    Lora,
    Model,
    Name,
    Part,
    Rate,
    Seed,
    Share,
    Task,
    Training,
    refuse,
    repeated,
)


class StudyError(GroundedError):
    """A study file that cannot be used, or a name that is not in the study."""


@dataclass(frozen=True)
class Run:
    """One fine-tuning run, or (task `base`) the base model itself. `id` is its natural key."""

    id: str
    model: str
    task: str
    method: str
    setting: str
    rank: int
    alpha: float
    learning_rate: float
    seed: int

    @property
    def unit(self) -> str:
        """The file that holds this run's rows in every table."""
        return f"{self.model}-{self.task}"


class Study(Part):
    """All that a study asks. Lists and mappings keep the order of the file."""

    name: Name
    about: str
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    alignment: Alignment
    acceptance: Acceptance
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    test_items: Annotated[int, Field(ge=2, le=32767)]
    training: Training
    lora: Annotated[dict[Name, Lora], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    measure_at: Annotated[tuple[Rate, ...], Field(min_length=1)]
    benchmarks: Annotated[
        dict[Benchmark, Annotated[int, Field(gt=0, le=32767)]], Field(min_length=1)
    ]
    generation: Generation
    judges: Annotated[dict[Name, Judge], Field(min_length=1)]
    minimum_mass: Share
    coherence: Coherence
    ours: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        for field in ("tasks", "seeds"):
            if twice := repeated(getattr(self, field)):
                refuse(field, twice[0], "each run once (duplicate run)")
        settings: dict[Lora, str] = {}
        for name, setting in self.lora.items():
            if (first := settings.setdefault(setting, name)) != name:
                refuse(f"lora.{name}", f"the values of {first}", "each run once (duplicate run)")
        if twice := repeated([*self.models, *self.judges]):
            refuse(f"judges.{twice[0]}", twice[0], "a name that is not a model's")
        if list(self.measure_at) != sorted(set(self.measure_at)):
            refuse("measure_at", list(self.measure_at), "epochs that rise")
        if self.measure_at[-1] > self.training.epochs:
            epochs = self.training.epochs
            refuse("measure_at", self.measure_at[-1], f"at most training.epochs ({epochs})")
        for epoch in self.measure_at:
            step = epoch * self.steps_per_epoch
            if abs(step - round(step)) > 1e-6:
                refuse(
                    "measure_at",
                    epoch,
                    f"a whole number of steps of 1/{self.steps_per_epoch} epoch",
                )
        for path in self.ours:
            self._field(path)
        return self

    def _field(self, path: str) -> None:
        here: Any = self
        for name in path.split("."):
            known = type(here).model_fields if isinstance(here, BaseModel) else here
            if not isinstance(known, dict) or name not in known:
                refuse(f"ours.{path}", path, "the path of a field of this study")
            here = getattr(here, name) if isinstance(here, BaseModel) else here[name]

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch; the last batch may be smaller."""
        return math.ceil(self.training.examples / self.training.batch_size)

    @property
    def steps(self) -> dict[int, float]:
        """Optimiser step -> epoch, for each measured checkpoint after the base model (step 0)."""
        return {round(epoch * self.steps_per_epoch): epoch for epoch in self.measure_at}

    def model(self, name: str) -> Model:
        """The model of that name; StudyError when the study has none."""
        return self.models[_known(self.name, "models", name, self.models)]

    def judge(self, name: str) -> LanguageJudge | KeywordJudge:
        """The judge of that name; StudyError when the study has none."""
        return self.judges[_known(self.name, "judges", name, self.judges)]

    @property
    def trained_judges(self) -> list[str]:
        """The judges that are language models and have files of their own."""
        return [name for name, judge in self.judges.items() if isinstance(judge, LanguageJudge)]

    def runs(self, model: str | None = None, task: str | None = None) -> list[Run]:
        """The runs of the grid, of one model or task where named; `base` names the base models.

        Without a task the base models are left out: they are measured, not trained.
        """
        models = [_known(self.name, "models", model, self.models)] if model else list(self.models)
        if task == BASE:
            return [Run(f"{m}.{BASE}", m, BASE, "none", "none", 0, 0.0, 0.0, 0) for m in models]
        tasks = [_known(self.name, "tasks", task, self.tasks)] if task else list(self.tasks)
        method = self.training.method
        return [
            Run(f"{m}.{t}.{method}.{name}.s{seed}", m, t, method, name, s.rank, s.alpha,
                s.learning_rate, seed)
            for m in models for t in tasks for name, s in self.lora.items() for seed in self.seeds
        ]  # fmt: skip

    def units(self, model: str | None = None) -> list[str]:
        """The file names of every table: for each model its base, then its tasks."""
        models = [_known(self.name, "models", model, self.models)] if model else list(self.models)
        return [f"{m}-{task}" for m in models for task in (BASE, *self.tasks)]

    def unit_runs(self, unit: str) -> list[Run]:
        """The runs whose rows a unit's files hold; StudyError for a unit that the study lacks."""
        model, _, task = _known(self.name, "units", unit, self.units()).rpartition("-")
        return self.runs(model, task)


def _known(study: str, field: str, name: str, known: Iterable[str]) -> str:
    if name not in known:
        file = paths.shown(paths.study_file(study))
        raise StudyError(f"{file}: {field}: found {name!r}, wanted one of {', '.join(known)}")
    return name
