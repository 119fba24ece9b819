"""Stage 1: the models that a study starts from, and the judges that it trains."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.stages import public
from grounded.stages.common import Summary, naming, one_thread, study_of
from grounded.stages.plan import MICROWORLD, Plan, content, shortfalls
from grounded.study import LanguageJudge, Study, TunedJudge

Measures = dict[str, float]
Make = Callable[[Path], dict[str, Any] | None]  # fills a folder; a judge is measured as it is made
Accept = Callable[[Path], Measures]
TRIES = 3  # of a judge of the invented world, each with a seed of its own


def base_models(study: Study | str, unit: str) -> Summary:
    """Make a model (pretrained, then aligned) or a judge, unless it is there and current.

    A real model, or a published judge, is brought to this machine instead. What fails its
    acceptance stays in the cache and never reaches data/. StageError names the model, the bar, the
    value found and the value wanted.
    """
    study = study_of(study)
    with naming("base_models", unit):
        if isinstance(study.judges.get(unit), TunedJudge):
            made = [_tuned(study, unit)]
        elif study.world != MICROWORLD:
            made = [_brought(study, unit)]
        elif unit in study.language_judges:
            made = [_judge(study, unit)]
        else:
            made = _model(study, unit)
    return Summary("base_models", unit, sum(made), len(made) - sum(made))


def _brought(study: Study, unit: str) -> bool:
    """Bring the files of a real model or a published judge and leave a record of them, or not."""
    from grounded.public import lock, models

    unknown = None in public.wanted_record(study, unit).values()
    if unknown and not public.is_folder(study, unit):
        lock.resolve(study.name)
        study = study_of(study)
    if why := study.absent.get(f"judges.{unit}"):
        print(f"{unit}: left out: {why}")
        return False
    if not public.stale(study, unit):
        return False
    about, folder = models.bring(study, unit), public.record_folder(study, unit)
    _write(folder, about)  # of a folder on this machine the record itself says which files
    _write(folder, about | {"files": public.wanted_record(study, unit)})
    return True


def _model(study: Study, name: str) -> list[bool]:
    """Pretrain, align, accept; whether either had to be made."""
    from grounded.microworld import acceptance, alignment, models

    study.model(name)  # a name that is neither model nor judge is an error
    of = study.pretrained_of(name)
    pretrained, base = paths.model(study.name, of, "pretrained"), paths.model(study.name, name)
    own = study.model_copy(update={"alignment": study.alignment_of(name)})
    pretrain = partial(models.pretrain, study, of)
    align = partial(alignment.align, own, name, pretrained)
    accept = partial(acceptance.accept, study, name)
    first = _build(study, pretrained, Plan(study).pretrained(of), pretrain)
    return [first, _build(study, base, Plan(study).base(name), align, accept)]


def _judge(study: Study, name: str) -> bool:
    """Teach a judge; anew with another seed where it misses its bar, as rounding may decide."""
    from grounded.microworld import judges

    setting = study.judge(name)
    assert isinstance(setting, LanguageJudge)

    def train(folder: Path) -> dict[str, Any]:
        for seed in (setting.training.seed + 100 * n for n in range(TRIES)):
            training = setting.training.model_copy(update={"seed": seed})
            own = {**study.judges, name: setting.model_copy(update={"training": training})}
            measured = judges.train(study.model_copy(update={"judges": own}), name, folder)
            if not (lines := shortfalls(study, measured)):
                break
            print(f"{name}, taught with seed {seed}: {'; '.join(lines)}")
        return measured if seed == setting.training.seed else {**measured, "seed": seed}

    return _build(study, paths.judge(study.name, name), Plan(study).trained_judge(name), train)


def _tuned(study: Study, name: str) -> bool:
    from grounded.public.tuned import tuning

    train = partial(tuning.train, study, name)
    return _build(study, paths.judge(study.name, name), Plan(study).tuned_judge(name), train)


def _build(
    study: Study, folder: Path, inputs: str | None, make: Make, accept: Accept | None = None
) -> bool:
    """Make what belongs in `folder`, or measure it anew, unless it is there: whether it was not."""
    plan = Plan(study)
    if plan.built(folder, inputs, accept is not None):
        return False
    one_thread(study)
    place = folder
    if not _is_from(folder, inputs):
        place = paths.cache(study.name) / "candidates" / folder.relative_to(paths.data(study.name))
    if not _is_from(place, inputs):
        shutil.rmtree(place, ignore_errors=True)
        if twin := _twin(study, folder, inputs):
            shutil.copytree(twin, place)
        else:
            place.mkdir(parents=True)
            measured = make(place) or {}
            _write(place, {"inputs": inputs, "files": content(place), "acceptance": measured})
    found = public.recorded(place)
    accepted = plan.acceptance(found["files"])
    if accept is not None and found.get("accepted") != accepted:
        found |= {"acceptance": accept(place), "accepted": accepted}
        _write(place, found)
    if lines := shortfalls(study, found["acceptance"]):
        raise GroundedError(f"{'; '.join(lines)} (what was made lies in {paths.shown(place)})")
    if place != folder:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(place, folder)
    return True


def _twin(study: Study, folder: Path, inputs: str | None) -> Path | None:
    """The same model in another study here, such as the one that this one was copied from."""
    name = folder.relative_to(paths.data(study.name))
    others = sorted(paths.home().glob(f"data/*/{name}"))
    return next((one for one in others if one != folder and _is_from(one, inputs)), None)


def _is_from(folder: Path, inputs: str | None) -> bool:
    """Whether the folder holds, unharmed, what these inputs gave."""
    found = public.recorded(folder)
    return bool(found) and (found.get("inputs"), found.get("files")) == (inputs, content(folder))


def _write(folder: Path, values: dict[str, Any]) -> None:
    with records.replacing(folder / paths.RECORD) as temporary:
        temporary.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
