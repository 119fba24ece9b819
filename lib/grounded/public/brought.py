"""What a study brings itself, in files beside its own: is it there, and can it be read?"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.public import adapters, data, models
from grounded.public.budget import size
from grounded.public.needs import is_address
from grounded.study import PublicJudge, Study
from grounded.study.asking import OWN_JUDGE, RUBRIC
from grounded.study.models import PublicModel

ADAPTER = "an adapter in PEFT's format"
Seen = tuple[str, str, bool]  # what was looked at, what was found or is wrong, whether it is right


def look(study: Study) -> Iterator[Seen]:
    """Every model, adapter, task, benchmark and further example that the study keeps in files."""
    here = paths.data(study.name)
    for name, model in study.models.items():
        if isinstance(model, PublicModel) and model.path is not None:
            yield _seen(f"models.{name}", partial(_model, here / model.path))
    for name, run in study.given.items():
        for number, one in enumerate(run.checkpoints):
            what = f"given.{name}.checkpoints.{number}"
            if isinstance(one.adapter, str):
                yield _seen(what, partial(_adapter, here / one.adapter))
            elif isinstance(one.model, str):
                yield _seen(what, partial(_model, here / one.model))
    for name, task in study.tasks.items():
        if task.source == "file":
            yield _seen(f"tasks.{name}", partial(_task, study, name))
    for name, benchmark in study.benchmarks.items():
        if benchmark.source == "file":
            yield _seen(f"benchmarks.{name}", partial(_prompts, study, name))
    for name, judge in study.judges.items():
        if isinstance(judge, PublicJudge) and judge.judge in (OWN_JUDGE, RUBRIC):
            if not is_address(str(judge.template)):
                yield _seen(f"judges.{name}.template", partial(_text, study, judge))
            if judge.path is not None:
                yield _seen(f"judges.{name}", partial(_model, here / judge.path))
    for kind in study.material:
        yield _seen(f"material.{kind}", partial(_material, study, kind))


def prompts(study: Study) -> dict[str, int]:
    """How many prompts of each benchmark in a file are asked; of those that can be read."""
    found = {}
    for name, benchmark in study.benchmarks.items():
        if benchmark.source == "file":
            with suppress(GroundedError):
                found[name] = len(data.prompts(study, name))
    return found


def _seen(what: str, read: Callable[[], str]) -> Seen:
    try:
        return what, read(), True
    except GroundedError as error:
        return what, str(error), False


def _model(where: Path) -> str:
    weights = weigh(models.checked(_folder(where, "a model in the format of transformers")))
    return f"{paths.shown(where)}, {size(weights)}"


def weigh(where: Path) -> int:
    """Bytes of the weights in a model's folder; 0 where there is none."""
    return sum(file.stat().st_size for file in where.glob("*.safetensors"))


def _folder(where: Path, wanted: str) -> Path:
    if not where.is_dir():
        raise GroundedError(f"{paths.shown(where)}: found no such folder, wanted {wanted}")
    return where


def _adapter(where: Path) -> str:
    _folder(where, ADAPTER)
    for name in (adapters.CONFIG, adapters.WEIGHTS):
        if not (where / name).is_file():
            raise GroundedError(
                f"{paths.shown(where)}: found no {name}, wanted an adapter in PEFT's format"
            )
    return paths.shown(where)


def _task(study: Study, name: str) -> str:
    found = data.task(study, name, min(study.seeds, default=0))
    return f"{len(found.train):,} examples, {len(found.test):,} test items"


def _prompts(study: Study, name: str) -> str:
    return f"{len(data.prompts(study, name)):,} prompts"


def _text(study: Study, judge: PublicJudge) -> str:
    from grounded.public import hosted
    from grounded.public.judges import prompted, served, templates

    first, *_ = hosted.texts(judge, paths.data(study.name) / str(judge.template))
    slots = prompted.SLOTS if judge.judge == OWN_JUDGE else served.RUBRIC_SLOTS
    templates.fill(judge.judge, first, **dict.fromkeys(slots, ""))
    return f"{judge.template}, sha256 {fingerprint.text(first)[:12]}"


def _material(study: Study, kind: str) -> str:
    data.material(study, kind, 0, 0)
    return "prompts and completions"
