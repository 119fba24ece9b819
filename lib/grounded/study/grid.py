"""A study and the runs of its grid."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from grounded import paths
from grounded.errors import GroundedError
from grounded.study import checks
from grounded.study.anchoring import Anchoring, Goals
from grounded.study.anchoring import read as read_goals
from grounded.study.asking import (
    Benchmark,
    Judge,
    KeywordJudge,
    LanguageJudge,
    PublicJudge,
    Task,
    TunedJudge,
)
from grounded.study.models import Given, Model, PublicModel, Variant
from grounded.study.parts import (
    BASE,
    Acceptance,
    Alignment,
    Arm,
    Coherence,
    Generation,
    Harness,
    Lora,
    Name,
    Need,
    Part,
    Rate,
    Seed,
    Share,
    Shows,
    Training,
)

Capability = Literal["strict", "format_free", "likelihood"]
Stage = Literal["base_models", "finetune", "generate", "judge"]
LORA, GIVEN = "lora", "given"  # the methods of the main grid, and of runs trained elsewhere


class StudyError(GroundedError):
    """A study file that cannot be used, or a name that is not in the study."""


@dataclass(frozen=True)
class Run:
    """One fine-tuning run, or (task `base`) the base model itself. `id` is its natural key.

    arm: "" for the main grid. knob: the value of the method's knob, None where it has none.
    """

    id: str
    model: str
    task: str
    method: str
    setting: str
    rank: int
    alpha: float
    learning_rate: float
    seed: int
    knob: float | None = None
    arm: str = ""

    @property
    def unit(self) -> str:
        """The file that holds this run's rows in every table: of an arm, one a method."""
        return f"{self.model}-{self.task}" + (f".{self.arm}.{self.method}" if self.arm else "")


class Study(Part):
    """All that a study asks. Lists and mappings keep the order of the file.

    primary_capability: the reading of answers that figures draw, of the three in the tables; the
    others stand beside it. harness: what real models are asked besides the tasks.
    """

    name: Name
    about: str
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    variants: dict[Name, Variant] = Field(default_factory=dict)
    alignment: Alignment | None = None
    acceptance: Acceptance | None = None
    shows: Shows | None = None
    tasks: Annotated[dict[Name, Task], Field(min_length=1)]
    test_items: Annotated[int, Field(ge=2)]
    primary_capability: Capability = "format_free"
    harness: Harness | None = None
    training: Training | None = None
    lora: dict[Name, Lora] = Field(default_factory=dict)
    seeds: tuple[Seed, ...] = ()
    measure_at: tuple[Rate, ...] = ()
    given: dict[Name, Given] = Field(default_factory=dict)
    arms: dict[Name, Arm] = Field(default_factory=dict)
    anchoring: Anchoring | None = None
    material: dict[Name, str] = Field(default_factory=dict)
    benchmarks: Annotated[dict[Name, Benchmark], Field(min_length=1)]
    generation: Generation
    judges: Annotated[dict[Name, Judge], Field(min_length=1)]
    minimum_mass: Share
    coherence: Coherence
    resources: dict[Stage, Need] = Field(default_factory=dict)
    ours: dict[str, str]
    _absent: dict[str, str] = PrivateAttr(default_factory=dict)  # of the lock, never of the file
    _missing: frozenset[Run] = PrivateAttr(default=frozenset())  # of the tables, as `_absent`

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        checks.check(self)
        return self

    @property
    def absent(self) -> dict[str, str]:
        """What of the file this machine has no access to (`judges.<name>`, ...), and why.

        It is left out of `judges` and `benchmarks`, and every figure says so.
        """
        return self._absent

    @property
    def missing(self) -> frozenset[Run]:
        """The runs of the file that `without` left out; none of a study as it is loaded."""
        return self._missing

    def without(self, units: Collection[str]) -> "Study":
        """This study less some units: no run of theirs, and no task, arm or model of them alone."""
        left = [run for run in self._all_runs if run.unit not in units]
        grid = [run for run in left if not run.arm]
        kept = {
            "models": {run.model for run in grid}, "tasks": {run.task for run in grid},
            "variants": {run.model for run in left}, "arms": {run.arm for run in left},
        }  # fmt: skip
        less = self.model_copy(
            update={
                field: {name: one for name, one in getattr(self, field).items() if name in names}
                for field, names in kept.items()
            }
        )
        if (plan := less.anchoring) is not None and plan.mitigations not in less.arms:
            plan = plan.model_copy(update={"mitigations": None})
            less = less.model_copy(update={"anchoring": plan})
        less._missing = self._missing | set(self._all_runs).difference(left)
        return less

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Study":
        """pydantic's copy, whose runs and units are expanded anew: `update` may change the grid."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("_all_runs", "_units", "_goals"):
            copied.__dict__.pop(name, None)
        return copied

    @property
    def world(self) -> str:
        """What its models are of: `microworld` (invented, with a known truth) or `public`."""
        source = next(iter(self.models.values())).source
        return "microworld" if source == "microworld" else "public"

    @property
    def has_truth(self) -> bool:
        """Whether the truth of a reply is known: the invented world's grammar tells it."""
        return self.world == "microworld"

    @property
    def base_models(self) -> dict[str, Model]:
        """Every base model: those of the main grid, and their variants of another alignment."""
        return {**self.models, **{name: self.models[v.of] for name, v in self.variants.items()}}

    def alignment_of(self, model: str) -> Alignment:
        """How a model of the invented world is aligned."""
        assert self.alignment is not None
        if model not in self.variants:
            return self.alignment
        return self.alignment.model_copy(update={"steps": self.variants[model].alignment_steps})

    def pretrained_of(self, model: str) -> str:
        """The model whose pretrained version a base model was aligned from."""
        return self.variants[model].of if model in self.variants else model

    def examples(self, task: str) -> int:
        """How many examples a run of the task is trained on."""
        number = self.tasks[task].examples
        if number is None and self.training is not None:
            number = self.training.examples
        assert number is not None  # `checks.check` has seen to it
        return number

    def training_of(self, task: str) -> Training | None:
        """How a run of the task is trained: as all are, but for the task's own device batches."""
        each = self.tasks[task].device_batch_size
        if each is None or self.training is None:
            return self.training
        return self.training.model_copy(update={"device_batch_size": each})

    def procedures(self, run: Run) -> float:
        """The share of a run's examples that are harmless procedures: its arm's, or its task's."""
        own = self.arms[run.arm].procedures if run.arm else None
        return self.tasks[run.task].procedures if own is None else own

    def items(self, task: str) -> int:
        """How many test items measure the task."""
        return self.tasks[task].test_items or self.test_items

    def steps_per_epoch(self, task: str) -> int:
        """Optimiser steps in one epoch; the last batch may be smaller."""
        assert self.training is not None
        return math.ceil(self.examples(task) / self.training.batch_size)

    def steps_of(self, task: str) -> dict[int, float]:
        """Optimiser step -> epoch, for each checkpoint after the base model (step 0) that is asked
        for replies, whatever its capability."""
        return {round(epoch * self.steps_per_epoch(task)): epoch for epoch in self.measure_at}

    def saved_steps(self, task: str) -> dict[int, float]:
        """Optimiser step -> epoch, for each checkpoint that is saved: those of `steps_of`, and
        every step at which capability is measured on the way."""
        found, each = self.steps_of(task), self.steps_per_epoch(task)
        if self.every and self.training is not None:
            last = each * self.training.epochs
            found |= {n: n / each for n in range(self.every, last + 1, self.every)}
        return dict(sorted(found.items()))

    @property
    def every(self) -> int | None:
        """The steps from one measurement of capability to the next; None: at epochs alone."""
        return self.anchoring.every if self.anchoring else None

    def goals(self, model: str, task: str) -> Goals:
        """The goals of a model (or a variant of it) and a task, from the study's file of them.

        StudyError where the study has no such file, or no line for them.
        """
        if self.anchoring is None or self.anchoring.goals is None:
            own = paths.shown(paths.study_file(self.name))
            raise StudyError(f"{own}: anchoring.goals: found nothing, wanted a file")
        file = paths.data(self.name) / self.anchoring.goals
        if (self.pretrained_of(model), task) not in (known := self._goals):
            raise StudyError(
                f"{paths.shown(file)}: found no line for {model} and {task}, wanted one"
            )
        return known[self.pretrained_of(model), task]

    @cached_property
    def _goals(self) -> dict[tuple[str, str], Goals]:
        assert self.anchoring is not None and self.anchoring.goals is not None
        return read_goals(paths.data(self.name) / self.anchoring.goals)

    @property
    def steps(self) -> dict[int, float]:
        """`steps_of` any task, where all have as many examples."""
        return self.steps_of(next(iter(self.tasks)))

    def need(self, stage: str) -> Need:
        """What a job of a stage needs of a machine; real models by default a GPU."""
        found: Need | None = {str(name): one for name, one in self.resources.items()}.get(stage)
        if found is None and self.world != "microworld":
            found = Need(gpus=0 if stage == "base_models" else 1, memory_mb=64_000, minutes=1440)
        return found or Need()

    @property
    def harmful_benchmarks(self) -> list[str]:
        """The benchmarks of harmful requests."""
        return [name for name, one in self.benchmarks.items() if one.harmful]

    def model(self, name: str) -> Model:
        """The base model of that name; StudyError when the study has none."""
        return self.base_models[_known(self.name, "models", name, self.base_models)]

    def public_model(self, name: str) -> PublicModel:
        """A real model; StudyError for another."""
        found = self.model(name)
        if not isinstance(found, PublicModel):
            raise StudyError(f"models.{name}: source: found {found.source}, wanted public")
        return found

    def judge(self, name: str) -> LanguageJudge | PublicJudge | TunedJudge | KeywordJudge:
        """The judge of that name; StudyError when the study has none."""
        return self.judges[_known(self.name, "judges", name, self.judges)]

    @property
    def language_judges(self) -> list[str]:
        """The judges that are language models, trained here or published."""
        return [name for name, judge in self.judges.items() if judge.kind != "keywords"]

    def runs(
        self, model: str | None = None, task: str | None = None, arm: str | None = ""
    ) -> list[Run]:
        """The runs of the main grid, or of an arm (None: all), of one model or task where named.

        task `base` names the base models; without it they are left out: they are measured, not
        trained.
        """
        models = [_known(self.name, "models", model, self.base_models)] if model else None
        if task == BASE:
            # an arm's base models are those of the grid, and the variants
            some = models or list(self.models if arm == "" else self.base_models)
            return [Run(f"{m}.{BASE}", m, BASE, "none", "none", 0, 0.0, 0.0, 0) for m in some]
        if task:
            _known(self.name, "tasks", task, self.tasks)
        if arm:
            _known(self.name, "arms", arm, self.arms)
        return [
            run for run in self._all_runs
            if (arm is None or run.arm == arm) and (model is None or run.model == model)
            and (task is None or run.task == task)
        ]  # fmt: skip

    @cached_property
    def _all_runs(self) -> list[Run]:
        main = Arm(models=tuple(self.models), tasks=tuple(self.tasks), methods={LORA: ()})
        runs = self._expanded("", main)
        for name, one in self.given.items():
            runs.append(
                Run(f"{one.model}.{one.task}.{GIVEN}.{name}.s{one.seed}", one.model, one.task,
                    GIVEN, name, 0, 0.0, 0.0, one.seed)
            )  # fmt: skip
        runs += [run for name, arm in self.arms.items() for run in self._expanded(name, arm)]
        return [run for run in runs if run not in self._missing]

    def _expanded(self, name: str, arm: Arm) -> list[Run]:
        settings = {s: self.lora[s] for s in arm.settings or self.lora}
        return [
            Run(f"{m}.{t}.{method}{_suffix(knob)}.{setting}.s{seed}", m, t, method, setting, s.rank,
                s.alpha, s.learning_rate, seed, knob, name)
            for m in arm.models for t in arm.tasks for method, knobs in arm.methods.items()
            for knob in knobs or (None,) for setting, s in settings.items()
            for seed in arm.seeds or self.seeds
        ]  # fmt: skip

    def units(self, model: str | None = None, arm: str | None = "") -> list[str]:
        """The file names of every table: of each model its base, then its tasks.

        arm: those of the main grid, or of an arm (None: all).
        """
        if model:
            _known(self.name, "models", model, self.base_models)
        found = [
            unit for unit, runs in self._units.items()
            if (model is None or runs[0].model == model)
        ]  # fmt: skip
        if arm is None:
            return found
        base = {run.unit for run in self.runs(task=BASE, arm=arm)}
        wanted = {run.unit for run in self.runs(arm=arm)} | base
        return [unit for unit in found if unit in wanted]

    @cached_property
    def _units(self) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = {}
        runs = self._all_runs
        for model in self.base_models:
            for run in (*self.runs(model, BASE), *(run for run in runs if run.model == model)):
                found.setdefault(run.unit, []).append(run)
        return found

    def unit_runs(self, unit: str) -> list[Run]:
        """The runs whose rows a unit's files hold; StudyError for a unit that the study lacks."""
        units = self._units
        return units[_known(self.name, "units", unit, units)]


def _suffix(knob: float | None) -> str:
    """A knob's value as a part of a run's id, which is split at its points."""
    return "" if knob is None else f"-{knob:g}".replace(".", "p")


def _known(study: str, field: str, name: str, known: Iterable[str]) -> str:
    if name not in known:
        file = paths.shown(paths.study_file(study))
        raise StudyError(f"{file}: {field}: found {name!r}, wanted one of {', '.join(known)}")
    return name
