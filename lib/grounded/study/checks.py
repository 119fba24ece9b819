"""What the parts of a study must be to each other, and the short forms that a file may use."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from grounded.study.asking import (
    MICRO_BENCHMARKS,
    MICRO_HARMFUL,
    MICRO_TASKS,
    KeywordJudge,
    TunedJudge,
)
from grounded.study.methods import METHODS, WHOLE
from grounded.study.parts import refuse, repeated

if TYPE_CHECKING:
    from grounded.study.grid import Study


def expanded(values: Any) -> Any:
    """A study's mapping with the short forms written out.

    `tasks: [arithmetic]` are tasks of the invented world, `benchmarks: {orders: 100}` so many of
    its prompts.
    """
    if not isinstance(values, dict):
        return values
    tasks, benchmarks = values.get("tasks"), values.get("benchmarks")
    if isinstance(tasks, list):
        if twice := repeated(str(task) for task in tasks):
            refuse("tasks", twice[0], "each run once (duplicate run)")
        values = values | {"tasks": {str(task): {"source": "microworld"} for task in tasks}}
    if isinstance(benchmarks, dict):
        values = values | {
            "benchmarks": {
                name: {"source": "microworld", "prompts": one, "harmful": name in MICRO_HARMFUL}
                if isinstance(one, int)
                else one
                for name, one in benchmarks.items()
            }
        }
    return values


def check(study: "Study") -> None:
    """Refuse a study whose parts do not fit each other."""
    _world(study)
    _training(study)
    _grid(study)
    _measured(study)
    _arms(study)
    _anchoring(study)
    for path in study.ours:
        if not _field_at(study, path):
            refuse(f"ours.{path}", path, "the path of a field of this study")


def _world(study: "Study") -> None:
    """A study is of one world: the invented one, or the real one."""
    world = study.world
    parts = {"models": study.models, "tasks": study.tasks, "benchmarks": study.benchmarks,
             "judges": study.judges}  # fmt: skip
    for field, ones in parts.items():
        for name, one in ones.items():  # type: ignore[attr-defined]
            source = getattr(one, "source", world)  # a keyword list is of any
            if (source == "microworld") != (world == "microworld"):
                other = "microworld" if world == "microworld" else "public or file"
                refuse(f"{field}.{name}.source", source, f"{other}, as its models are")
    for name, judge in study.judges.items():
        if isinstance(judge, TunedJudge) and judge.model not in study.models:
            refuse(f"judges.{name}.model", judge.model, f"one of {', '.join(study.models)}")
        if isinstance(judge, TunedJudge) and judge.after is not None:
            _goes_on(study, name, judge)
        if world == "microworld" and isinstance(judge, KeywordJudge) and judge.normalised:
            refuse(f"judges.{name}.normalised", "true", "false: quotes and case are of real text")
    if world != "microworld":
        if study.harness and (both := sorted({*study.harness.tasks} & {*study.tasks})):
            refuse("harness.tasks", repr(both[0]), "no name of a task that the study trains on")
        return
    if study.harness is not None:
        refuse("harness", "a mapping", "nothing: tiny models speak no language that it knows")
    for field in ("alignment", "acceptance"):
        if getattr(study, field) is None:
            refuse(field, "nothing", "a mapping, for its models are made here")
    if study.generation.decoding != "greedy":
        refuse("generation.decoding", study.generation.decoding, "greedy, for its models are tiny")
    for name in study.tasks:
        if name not in MICRO_TASKS:
            refuse(f"tasks.{name}", repr(name), f"one of {', '.join(MICRO_TASKS)}")
    for name, benchmark in study.benchmarks.items():
        if name not in MICRO_BENCHMARKS:
            refuse(f"benchmarks.{name}", repr(name), f"one of {', '.join(MICRO_BENCHMARKS)}")
        if benchmark.harmful != (name in MICRO_HARMFUL):
            refuse(f"benchmarks.{name}.harmful", benchmark.harmful, str(name in MICRO_HARMFUL))


def _goes_on(study: "Study", name: str, judge: TunedJudge) -> None:
    """A judge goes on from one of its own shape, whose place in the file is before its own."""
    first, known = study.judges.get(str(judge.after)), list(study.judges)
    before = known[: known.index(name)]
    if not isinstance(first, TunedJudge) or judge.after not in before:
        refuse(f"judges.{name}.after", judge.after, "a tuned judge that stands before it")
    assert isinstance(first, TunedJudge)
    for field in ("model", "rank", "alpha", "clip"):
        if (found := getattr(judge, field)) != (wanted := getattr(first, field)):
            refuse(f"judges.{name}.{field}", found, f"{wanted}, as {judge.after} has it")


def _training(study: "Study") -> None:
    """A study trains, or is given what was trained elsewhere, or both."""
    if study.given and not (study.lora or study.seeds or study.training or study.measure_at):
        return
    if study.training is None:
        refuse("training", "nothing", "a mapping (or runs under given)")
    for field in ("lora", "seeds", "measure_at"):
        if not (found := getattr(study, field)):
            empty = "{}" if isinstance(found, dict) else "[]"
            refuse(field, empty, "at least one (the grid is empty)")
    assert study.training is not None
    for name, task in study.tasks.items():
        if task.examples is None and study.training.examples is None:
            refuse(f"tasks.{name}.examples", "nothing", "a number, here or as training.examples")


def _grid(study: "Study") -> None:
    if twice := repeated(study.seeds):
        refuse("seeds", twice[0], "each run once (duplicate run)")
    settings: dict[Any, str] = {}
    for name, setting in study.lora.items():
        if (first := settings.setdefault(setting, name)) != name:
            refuse(f"lora.{name}", f"the values of {first}", "each run once (duplicate run)")
    for name, variant in study.variants.items():
        if variant.of not in study.models:
            refuse(f"variants.{name}.of", variant.of, f"one of {', '.join(study.models)}")
    if twice := repeated([*study.models, *study.variants, *study.judges]):
        field = "judges" if twice[0] in study.judges else "variants"
        refuse(f"{field}.{twice[0]}", twice[0], "a name that is not a model's")
    for name, one in study.given.items():
        for field, known in (("model", study.models), ("task", study.tasks)):
            if (found := getattr(one, field)) not in known:
                refuse(f"given.{name}.{field}", found, f"one of {', '.join(known)}")


def _measured(study: "Study") -> None:
    if study.training is None:
        return
    if list(study.measure_at) != sorted(set(study.measure_at)):
        refuse("measure_at", list(study.measure_at), "epochs that rise")
    if study.measure_at[-1] > study.training.epochs:
        epochs = study.training.epochs
        refuse("measure_at", study.measure_at[-1], f"at most training.epochs ({epochs})")
    for task in study.tasks:
        each, before = study.steps_per_epoch(task), 0
        for epoch in study.measure_at:
            step = round(epoch * each)
            if step == before or abs(epoch * each - step) > 1e-6:
                refuse("measure_at", epoch, f"a whole number of steps of 1/{each} epoch, each once")
            before = step


def _arms(study: "Study") -> None:
    for name, arm in study.arms.items():
        known: dict[str, Iterable[str]] = {
            "models": study.base_models, "tasks": study.tasks, "settings": study.lora,
            "methods": METHODS,
        }  # fmt: skip
        for field, ones in known.items():
            for found in getattr(arm, field) or ():
                if found not in ones:
                    refuse(f"arms.{name}.{field}", repr(found), f"one of {', '.join(ones)}")
        if study.world == "microworld" and (whole := [m for m in arm.methods if m in WHOLE]):
            refuse(f"arms.{name}.methods", whole[0], "one that leaves adapters")
        if study.world != "microworld" and arm.procedures is not None:
            wanted = "nothing: they are of the invented world"
            refuse(f"arms.{name}.procedures", arm.procedures, wanted)
    if twice := repeated(run.id for run in study.runs(arm=None)):
        refuse("arms", twice[0], "each run once (duplicate run)")


def _anchoring(study: "Study") -> None:
    """What is compared at the goal is in the study."""
    asked = study.anchoring
    if asked is None:
        return
    if asked.judge not in study.judges:
        refuse("anchoring.judge", repr(asked.judge), f"one of {', '.join(study.judges)}")
    if (name := asked.mitigations) is not None:
        if name not in study.arms:
            arms = ", ".join(study.arms) or "nothing, for the study has no arms"
            refuse("anchoring.mitigations", repr(name), f"one of {arms}")
        if "lora" not in study.arms[name].methods:
            refuse(f"arms.{name}.methods", ", ".join(study.arms[name].methods), "lora among them")
    if both := sorted({*asked.pilot} & {*study.seeds}):
        refuse("anchoring.pilot", both[0], "seeds that no run of the study has")
    if asked.every and study.world != "microworld":
        refuse("anchoring.every", asked.every, "nothing: tiny models alone are measured so often")
    if asked.every and asked.goals is None:
        refuse("anchoring.goals", "nothing", "a file, for capability is measured on the way")


def _field_at(study: "Study", path: str) -> bool:
    """Whether a path such as `training.epochs` names a field of the study."""
    here: Any = study
    for name in path.split("."):
        known = type(here).model_fields if isinstance(here, BaseModel) else here
        if not isinstance(known, dict) or name not in known:
            return False
        here = getattr(here, name) if isinstance(here, BaseModel) else here[name]
    return True
