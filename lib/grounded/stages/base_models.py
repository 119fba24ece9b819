"""Stage 1: the models that a study starts from, and the judges that it trains."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grounded import fingerprint, paths, records
from grounded.errors import GroundedError
from grounded.stages import public
from grounded.stages.common import Summary, naming, one_thread, study_of
from grounded.stages.plan import MICROWORLD, Plan, record, shortfalls
from grounded.study import Study, TunedJudge

Measures = dict[str, float]
Make = Callable[[Path], dict[str, Any] | None]  # fills a folder; a judge is measured as it is made
Accept = Callable[[Path], Measures]


def base_models(study: Study | str, unit: str) -> Summary:
    """Make a model (pretrained, then aligned) or a judge, unless it is there and current.

    A real model, or a published judge, is brought to this machine instead. What fails its
    acceptance stays in the cache and never reaches data/. StageError names the model, the bar, the
    value found and the value wanted.
    """
    study = study_of(study)
    if study.world != MICROWORLD:
        return _real(study, unit)
    with naming("base_models", unit):
        one = _judge if unit in study.language_judges else _model
        made = one(study, unit)
    return Summary("base_models", unit, sum(made), len(made) - sum(made))


def _real(study: Study, unit: str) -> Summary:
    """Bring the files of a real model or a published judge, and leave a record of them."""
    from grounded.public import lock, models

    with naming("base_models", unit):
        if isinstance(study.judges.get(unit), TunedJudge):
            made = int(_tuned(study, unit))
            return Summary("base_models", unit, made, 1 - made)
        unknown = None in public.wanted_record(study, unit).values()
        if unknown and not public.is_folder(study, unit):
            lock.resolve(study.name)
            study = study_of(study)
        if why := study.absent.get(f"judges.{unit}"):
            print(f"{unit}: left out: {why}")
            return Summary("base_models", unit, 0, 1)
        if not public.stale(study, unit):
            return Summary("base_models", unit, 0, 1)
        about, folder = models.bring(study, unit), public.record_folder(study, unit)
        _write(folder, about)  # of a folder on this machine the record itself says which files
        _write(folder, about | {"files": public.wanted_record(study, unit)})
    return Summary("base_models", unit, 1, 0)


def _model(study: Study, name: str) -> list[bool]:
    study.model(name)  # a name that is neither model nor judge is an error
    of = study.pretrained_of(name)
    pretrained, base = paths.model(study.name, of, "pretrained"), paths.model(study.name, name)
    own = study.model_copy(update={"alignment": study.alignment_of(name)})

    def pretrain(folder: Path) -> None:
        from grounded.microworld import models

        models.pretrain(study, of, folder)

    def align(folder: Path) -> None:
        from grounded.microworld import alignment

        alignment.align(own, name, pretrained, folder)

    def accept(folder: Path) -> Measures:
        from grounded.microworld import acceptance

        return acceptance.accept(study, name, folder)

    first = _build(study, pretrained, Plan(study).pretrained(of), pretrain)
    return [first, _build(study, base, Plan(study).base(name), align, accept)]


def _judge(study: Study, name: str) -> list[bool]:
    def train(folder: Path) -> Measures:
        from grounded.microworld import judges

        return judges.train(study, name, folder)

    return [_build(study, paths.judge(study.name, name), Plan(study).trained_judge(name), train)]


def _tuned(study: Study, name: str) -> bool:
    def train(folder: Path) -> dict[str, Any]:
        from grounded.public.tuned import tuning

        return tuning.train(study, name, folder)

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
            _write(place, {"inputs": inputs, "files": _files(place), "acceptance": measured})
    found = record(place)
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
    found = record(folder)
    return bool(found) and (found.get("inputs"), found.get("files")) == (inputs, _files(folder))


def _write(folder: Path, values: dict[str, Any]) -> None:
    with records.replacing(folder / paths.RECORD) as temporary:
        temporary.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


def _files(folder: Path) -> str | None:
    return fingerprint.folder(folder, but=(paths.RECORD,))
