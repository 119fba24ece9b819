"""What a study of real models needs from elsewhere: repositories of the hub, files of the web."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grounded import paths
from grounded.errors import GroundedError
from grounded.public.files import HubFiles, model_files
from grounded.study import PublicJudge, Study
from grounded.study.asking import OWN_JUDGE, RUBRIC
from grounded.study.models import HubFolder, PublicModel


@dataclass(frozen=True)
class Need:
    """What one part of a study needs.

    part, name: the field of the study and the name in it (`pretrained` of a model, `adapters` of a
    judge). hub: a repository of the hub, or None. files: other files by what they are for, as
    `tasks.fetching.Place`. known: what the study calls it (a name of a registry), kept in the
    lock. optional: whether the study goes on without access to it.
    """

    part: str
    name: str
    hub: HubFiles | None = None
    files: tuple[tuple[str, Any], ...] = ()
    known: str = ""
    optional: bool = False

    @property
    def said(self) -> str:
        """How a message names it: `judges.wildguard`."""
        return f"{self.part}.{self.name}"

    @property
    def absence(self) -> str:
        """How the lock names what is left out without it: the judge of an adapter."""
        return f"{'judges' if self.part == 'adapters' else self.part}.{self.name}"


def needs(study: Study) -> list[Need]:
    """All that the study needs, in the order of its file; what lies on this machine is left out.

    GroundedError, one line a fault, for a name that no registry knows or a prompt text that no
    source pins and the study does not name.
    """
    found: list[Need] = []
    faults: list[str] = []
    for part in (_models, _given, _tasks, _benchmarks, _judges):
        for one in part(study):
            if isinstance(one, str):
                faults.append(f"{paths.shown(paths.study_file(study.name))}: {one}")
            else:
                found.append(one)
    if faults:
        raise GroundedError("\n".join(faults))
    return found


def _models(study: Study) -> Iterator[Need]:
    for name, model in study.models.items():
        assert isinstance(model, PublicModel)
        if model.repository:
            hub = model_files(model.repository, model.revision, model.licence)
            yield Need("models", name, hub)
        if model.pretrained:
            before = model.pretrained
            hub = model_files(before.repository, before.revision, model.licence)
            yield Need("pretrained", name, hub)


def _given(study: Study) -> Iterator[Need]:
    for name, run in study.given.items():
        for number, one in enumerate(run.checkpoints, start=1):
            place = one.adapter or one.model
            if isinstance(place, HubFolder):
                hub = model_files(place.repository, place.revision, "its own")
                yield Need("given", f"{name}.{number}", hub)


def _tasks(study: Study) -> Iterator[Need | str]:
    from grounded.public.tasks import TASKS

    for name, task in study.tasks.items():
        if task.source != "public":
            continue
        if task.data not in TASKS:
            yield f"tasks.{name}.data: found {task.data!r}, wanted one of {', '.join(TASKS)}"
            continue
        yield Need("tasks", name, None, tuple(TASKS[task.data].files.items()), task.data)


def _benchmarks(study: Study) -> Iterator[Need | str]:
    from grounded.public.benchmarks import BENCHMARKS

    for name, one in study.benchmarks.items():
        if one.source != "public":
            continue
        if one.data not in BENCHMARKS:
            known = ", ".join(BENCHMARKS)
            yield f"benchmarks.{name}.data: found {one.data!r}, wanted one of {known}"
            continue
        data = BENCHMARKS[one.data].data
        if isinstance(data, str):
            files = (("prompts", data),)
            yield Need("benchmarks", name, None, files, one.data, one.optional)
        else:
            yield Need("benchmarks", name, _at(data, one.revision), (), one.data, one.optional)


def _judges(study: Study) -> Iterator[Need | str]:
    settings = {n: j for n, j in study.judges.items() if isinstance(j, PublicJudge)}
    if not settings:
        return
    from grounded.public.judges import JUDGES

    for name, one in settings.items():
        if one.judge in (OWN_JUDGE, RUBRIC):
            yield from _named(name, one)
            continue
        if one.judge not in JUDGES:
            names = ", ".join([*JUDGES, OWN_JUDGE, RUBRIC])
            yield f"judges.{name}.judge: found {one.judge!r}, wanted one of {names}"
            continue
        known = JUDGES[one.judge]
        files: tuple[tuple[str, Any], ...] = ()
        if known.text and one.template and is_address(one.template):
            files = (("template", authors_file(one.template)),)
        elif known.text and not one.template:
            if known.source is None:
                yield (
                    f"judges.{name}.template: found nothing, wanted the file of its authors' "
                    "prompt text, or its address"
                )
                continue
            files = (("template", known.source),)
        yield Need("judges", name, _at(known.files, one.revision), files, one.judge, one.optional)
        if known.adapter:
            yield Need("adapters", name, known.adapter, (), one.judge, one.optional)


def _named(name: str, one: PublicJudge) -> Iterator[Need]:
    """What a judge needs whose model the study names: a repository, an address of its text."""
    hub = None
    if one.repository:
        hub = model_files(one.repository, one.revision, "its own")
    template = str(one.template)
    files = (("template", authors_file(template)),) if is_address(template) else ()
    if hub or files:
        yield Need("judges", name, hub, files, one.judge, one.optional)


def is_address(place: str) -> bool:
    """Whether a template's place is an address, and not a file."""
    return place.startswith(("https://", "http://"))


def authors_file(address: str) -> Any:
    """The file of a prompt text, by its address; the lock keeps its sha256."""
    from grounded.public.tasks.fetching import WebFile

    mirror = f"judges/{address.partition('://')[2]}"  # its place in a mirror, and in the cache
    return WebFile(address, "its authors'", mirror)


def _at(files: HubFiles, revision: str | None) -> HubFiles:
    from dataclasses import replace

    return replace(files, revision=revision or files.revision)
