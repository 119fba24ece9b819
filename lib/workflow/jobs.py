"""Which notebook runs with which parameters after which: the plan that the graph is made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from grounded import paths
from grounded.errors import GroundedError
from grounded.records import replacing
from grounded.stages.plan import NOTEBOOKS, upstream
from grounded.stages.status import Status
from grounded.study import Study
from workflow import notebooks

TOLD = "told"  # the folder in which each job says how it went
SHOW = "show"  # tag of the cells of a stage notebook that only look at what was made


@dataclass(frozen=True)
class Job:
    """One notebook to execute. `id` is `<stage>/<unit>`; `needs` are the ids to finish before."""

    id: str
    notebook: Path
    output: Path
    parameters: dict[str, Any]
    needs: tuple[str, ...] = ()
    skip: str = ""  # cells with this tag are left out
    publish: str = ""  # the study of the committed copy, which the executed one replaces
    gpu: int = 0  # how many GPUs it uses,
    mem_mb: int = 4000  # the memory that it may use
    runtime: int = 60  # and the minutes that it may take: what a cluster is asked for

    @property
    def stage(self) -> str:
        """The rule of the graph that this job belongs to."""
        return self.id.partition("/")[0]

    @property
    def unit(self) -> str:
        """What the stage is applied to."""
        return self.id.partition("/")[2]


@dataclass(frozen=True)
class Plan:
    """Jobs by id, and the two files by which they know of the process that started them."""

    alive: Path
    running: Path
    jobs: dict[str, Job] = field(default_factory=dict)


def save(plan: Plan, file: Path) -> None:
    """Write a plan for the graph and its jobs to read."""
    with replacing(file) as temporary:
        temporary.write_bytes(TypeAdapter(Plan).dump_json(plan))


def load(file: Path) -> Plan:
    """The plan that `save` wrote."""
    return TypeAdapter(Plan).validate_json(file.read_bytes())


def measuring(study: Study, stale: Iterable[Status]) -> list[Job]:
    """A job for each unit of a stage that must be made again."""
    jobs = []
    for stage, unit, _, _ in stale:
        name, need = NOTEBOOKS[stage], study.need(stage)
        jobs.append(
            Job(
                id=f"{stage}/{unit}",
                notebook=paths.notebook(name),
                output=_executed(study, name, unit),
                parameters={"study": study.name, "unit": unit},
                needs=tuple(f"{s}/{u}" for s, u in upstream(study, stage, unit)),
                skip=SHOW,
                gpu=need.gpus,
                mem_mb=need.memory_mb,
                runtime=need.minutes,
            )
        )
    return jobs


def drawing(
    study: Study,
    names: Iterable[str],
    after: Iterable[Job],
    parameters: Mapping[str, Any] | None = None,
) -> list[Job]:
    """A job for each of these figure notebooks; the executed page lies beside its figures.

    parameters: of the notebooks, besides the study.
    """
    needs = tuple(job.id for job in after)
    return [
        Job(
            id=f"figures/{name}",
            notebook=paths.notebook(name),
            output=paths.figures(study.name) / "notebooks" / f"{name}.ipynb",
            parameters={"study": study.name, **(parameters or {})},
            needs=needs,
        )
        for name in names
    ]


def reported(study: Study, runs: str, accuracy: str) -> dict[str, Any]:
    """The parameters of the page of `make report`, out of what its RUNS and ACCURACY say.

    runs: ids with spaces or commas between; accuracy: a share from 0 to 1. Empty ones are left to
    the notebook. GroundedError for a run that the study does not have, and for no such share.
    """
    known, found = [run.id for run in study.runs()], runs.replace(",", " ").split()
    if odd := [run for run in found if run not in known]:
        raise GroundedError(f"RUNS: found {odd[0]!r}, wanted runs of {study.name}, as {known[0]}")
    asked: dict[str, Any] = {"runs": found} if found else {}
    if accuracy:
        try:
            asked["accuracy"] = float(accuracy)
        except ValueError:
            asked["accuracy"] = -1.0
        if not 0 < asked["accuracy"] <= 1:
            raise GroundedError(f"ACCURACY: found {accuracy!r}, wanted a share above 0, up to 1")
    return asked


def publishing(study: Study, default: str) -> list[Job]:
    """A job for every notebook, whose executed copy replaces it.

    A page of the study that its own parameters name is executed as it stands.
    """
    tours = [name for name, of in notebooks.TOURS.items() if of == study.name]
    names = [*tours, notebooks.EXPLORER, *NOTEBOOKS.values(), *notebooks.figure_notebooks()]
    return [
        Job(
            id=f"notebooks/{name}",
            notebook=paths.notebook(name),
            output=_executed(study, name),
            parameters={} if study.name == default else {"study": study.name},
            publish=study.name,
        )
        for name in names
    ]


def _executed(study: Study, name: str, unit: str = "") -> Path:
    return paths.cache(study.name) / "executed" / f"{name}{unit and '-'}{unit}.ipynb"
