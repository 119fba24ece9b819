"""What each target of `make` does."""

import argparse
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from grounded import paths, records, study
from grounded.errors import GroundedError
from grounded.stages.plan import IN_PARTS, units
from grounded.stages.status import Status, status
from grounded.study import Study
from workflow import badges, book, drawn, graph, jobs, unpack, vouch
from workflow.notebooks import figure_notebooks

TIMED = ("figures", "models", "report", "reproduce", "notebooks", "redact", "export")
OTHERS = ("badges", "book", "check", "goals", "import", "new", "vouch")
DEFAULT = "micro"  # the study of the committed notebooks
REPORT = "what_did_it_cost"
NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")  # of a study


def bring_up(
    asked: Study,
    cores: int,
    only: str = "",
    pages: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Make what is missing or out of date, then draw the figures that do not show it.

    only: that stage alone is made, and nothing is drawn. pages: the notebooks to draw, whatever
    they show already, with `parameters`.
    """
    with graph.alone(asked.name):
        stale = [s for s in _stale(asked) if only in ("", s.stage)]
        if pages is None:
            pages = [] if only else figure_notebooks() if stale else drawn.stale(asked)
        measuring = jobs.measuring(asked, stale)
        drawing = jobs.drawing(asked, pages, measuring, parameters)
        _explain(asked, stale, len(drawing))
        if measuring or drawing:
            graph.run(asked.name, [*measuring, *drawing], cores)
        for name in pages:
            drawn.remember(asked, name)


def ready(name: str) -> Study:
    """The study of that name, of real models once its lock holds all that it names.

    What is absent on this machine is said. Tiny models are summed in the order of AVX2 whatever the
    CPU has: with AVX-512 they come out the same then, byte for byte.
    """
    asked = study.load(name)
    if asked.world == "microworld":
        os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")  # kernels inherit it
    else:
        from grounded.public import lock

        lock.resolve(name)
        asked = study.load(name)
        for one, why in asked.absent.items():
            print(f"{name}: {one} is left out: {why}", flush=True)
    return asked


def figures(asked: Study, cores: int) -> str:
    """Bring the study up to date, and see that every figure is there; what to open."""
    bring_up(asked, cores)
    for name in figure_notebooks():
        if missing := drawn.missing(asked, name):
            raise GroundedError(f"{missing[0]}: found no such file, wanted {name} to draw it")
    place = paths.shown(paths.figures(asked.name))
    return f"open {place}/*.png, or {place}/notebooks/*.ipynb with all that was computed"


def notebooks(asked: Study, cores: int) -> None:
    """Bring the study up to date, then execute every notebook and put the copies in place."""
    figures(asked, cores)
    with graph.alone(asked.name):
        graph.run(asked.name, jobs.publishing(asked, DEFAULT), cores)


def new(name: str) -> str:
    """Put a commented study file in place, data/<name>/study.yaml; what to do with it.

    GroundedError for a name that no study may have, and where one is there already.
    """
    file = paths.study_file(name)
    if not NAME.fullmatch(name):
        raise GroundedError(f"STUDY: found {name!r}, wanted small letters, digits, - and _")
    if file.exists():
        raise GroundedError(f"{paths.shown(file)}: found a study there, wanted a new name")
    text = Path(__file__).with_name("new_study.yaml").read_text(encoding="utf-8")
    with records.replacing(file) as temporary:
        temporary.write_text(text.replace("NAME", name), encoding="utf-8")
    return f"{paths.shown(file)}: fill in the lines marked <--, then make check STUDY={name}"


def report(asked: Study, cores: int, runs: str = "", accuracy: str = "") -> str:
    """Measure what is missing, then write the page that says what a fine-tune cost; where it is.

    Of these runs, at this accuracy (`jobs.reported`); by default of the first, at its end.
    """
    bring_up(asked, cores, pages=[REPORT], parameters=jobs.reported(asked, runs, accuracy))
    return f"the page: {paths.shown(paths.figures(asked.name) / REPORT)}.html (and .md)"


def reproduce(asked: Study, cores: int) -> None:
    """Make the study from nothing in reproduced/ and compare it with what is committed.

    A reproduction that was stopped goes on; one that was completed begins again from nothing.
    """
    committed, pictures = paths.data(asked.name), paths.figures(asked.name)
    elsewhere = paths.home() / "reproduced" / asked.name
    complete = elsewhere / "complete"
    if complete.exists():
        shutil.rmtree(elsewhere)
    os.environ["GROUNDED_HOME"] = str(elsewhere)
    paths.data(asked.name).mkdir(parents=True, exist_ok=True)
    made = {*records.SCHEMAS, "models", "judges", "redacted", IN_PARTS}
    for place in committed.iterdir():  # the study, its lock, and what it names beside them
        if place.is_dir() and place.name not in made:
            shutil.copytree(place, paths.data(asked.name) / place.name, dirs_exist_ok=True)
        elif place.name not in made:
            shutil.copy(place, paths.data(asked.name))
    if pictures.is_dir():  # one that cannot be drawn, for want of public data, stays as it is
        shutil.copytree(pictures, paths.figures(asked.name), dirs_exist_ok=True)
    bring_up(asked, cores)
    complete.touch()
    from workflow import archive, compare

    if not asked.has_truth:  # tables of real models are committed without texts
        archive.redact_tables(asked)

    report = compare.folders(committed, paths.data(asked.name))
    text = "\n".join(report.lines())
    (elsewhere / "report.txt").write_text(text + "\n")
    print(text)
    if report.missing:
        raise GroundedError(f"reproduced/{asked.name}: not all that is committed was made again")


def check(name: str) -> int:
    """Say whether a study can be run here, before anything is spent; the exit status."""
    asked = study.load(name)
    if asked.world == "microworld":
        runs = len(asked.runs(arm=None))
        print(f"{name}: {runs} runs of models that are made here; needs nothing from elsewhere")
        return 0
    if not sys.stderr.isatty():  # bars of small downloads are for a terminal
        os.environ.setdefault("TQDM_DISABLE", "1")
    from grounded.public import check as checks

    lines, cost = checks.check(name)
    print(*lines, sep="\n")
    print(*(f"  {line}" for line in cost.lines()), sep="\n")
    bad, open_ = (sum(line.state == s for line in lines) for s in (checks.BAD, checks.UNKNOWN))
    if not bad:
        told = f"nothing failed, and {open_} of {len(lines)} checks could not be told"
        print(f"{name}: {told if open_ else 'can be run here'}")
        return 0
    print(f"error: {name}: {bad} of {len(lines)} checks failed", file=sys.stderr)
    return 1


def _stale(asked: Study) -> list[Status]:
    """What is to be made: all that is missing or out of date.

    Of a study that is committed a unit at a time, units that are not there are left as they are
    (`grounded.stages.plan.units`), and that is said. `make reproduce` measures them.
    """
    whole, there = asked.units(arm=None), units(asked, "finetune")
    if len(there) < len(whole):
        runs = {u: sum(run.task != study.BASE for run in asked.unit_runs(u)) for u in whole}
        some, every = sum(runs[unit] for unit in there), sum(runs.values())
        if not some:
            raise GroundedError(
                f"{asked.name}: found none of its {every} runs measured, wanted some to draw: "
                f"make reproduce STUDY={asked.name} measures them"
            )
        print(
            f"{asked.name}: {some} of {every} runs are measured; the others take make reproduce "
            f"STUDY={asked.name}",
            flush=True,
        )
    return [s for s in status(asked) if s.state == "stale"]


def _explain(asked: Study, stale: Sequence[Status], figures: int) -> None:
    """Say what is about to be done and why."""
    for stage, of_stage in groupby(stale, key=lambda item: item.stage):
        first, *others = of_stage
        print(f"{asked.name}: {1 + len(others)} {stage} to make ({first.reason})")
    if figures:
        print(f"{asked.name}: {figures} figures to draw")
    if not (stale or figures):
        print(f"{asked.name}: all is there and current")
    sys.stdout.flush()


def main() -> int:
    """Parse the command line and do what it asks; the exit status."""
    parser = argparse.ArgumentParser(prog="workflow", description=__doc__)
    parser.add_argument("target", choices=[*TIMED, *OTHERS])
    parser.add_argument("study", help="its name; of `import` the archive's file, of `badges` "
                        "owner/name")  # fmt: skip
    parser.add_argument("--run", default="", help="of `vouch`: the run that is made again")
    parser.add_argument("--runs", default="", help="of `report`: the ids of the runs it is of")
    parser.add_argument("--accuracy", default="", help="of `report`: the accuracy to compare at")
    parser.add_argument("--tag", default="v0.1.0", help="of `badges`: a tag that it has")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes side by side")
    parser.add_argument("--profile", default="", help="a Snakemake profile: slurm, or a folder")
    asked = parser.parse_args()
    if asked.profile:
        os.environ[graph.PROFILE] = asked.profile
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if asked.target == "check":
        return check(asked.study)
    began = time.monotonic()
    said = _do(asked)
    if asked.target in TIMED:
        print(f"{asked.target}: done in {time.monotonic() - began:.0f} s")
    if said:
        print(said)
    return 0


def _do(asked: argparse.Namespace) -> str | None:
    """Do what a target asks; what to say of it."""
    name, cores = asked.study, asked.jobs
    match asked.target:
        case "figures":
            return figures(ready(name), cores)
        case "models":
            bring_up(ready(name), cores, only="base_models")
        case "report":
            return report(ready(name), cores, asked.runs, asked.accuracy)
        case "reproduce":
            reproduce(ready(name), cores)
        case "notebooks":
            notebooks(ready(name), cores)
        case "new":
            return new(name)
        case "redact":
            from workflow import archive  # its metadata take a second to import

            made, place = archive.redact_tables(ready(name)), paths.data(name) / "redacted"
            return f"{len(made)} tables without texts in {paths.shown(place)}"
        case "export":
            from workflow import archive

            file = archive.export(ready(name))
            return f"{file.relative_to(paths.repository())}: {file.stat().st_size / 1e6:.1f} MB"
        case "import":
            return f"{unpack.bring(Path(name))}: put in place"
        case "goals":
            from grounded.stages.goals import goals  # with torch

            return f"{paths.shown(goals(ready(name)))}: written"
        case "book":
            html = book.build(name)
            return f"open {paths.shown(html / 'index.html')}, or explorer.html beside it"
        case "badges":
            badges.stamp_all(name, asked.tag)
        case "vouch":
            return f"{vouch.vouch(ready(name), asked.run)} tables recorded as current"
    return None
