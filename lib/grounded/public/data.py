"""The tasks, prompts and further examples of a real study, as its file names them."""

import random
from collections.abc import Iterator

from grounded import fingerprint, paths, sources
from grounded.errors import GroundedError
from grounded.public import benchmarks, lock
from grounded.public.benchmarks import BENCHMARKS, Prompt
from grounded.public.files import HubFiles, hub_files, jsonl_rows, text
from grounded.public.tasks import Example, TaskData, load, load_own
from grounded.public.tasks.examples import key
from grounded.records.schemas import STRIDE
from grounded.sources import SourceError
from grounded.study import Study

PINNED = {"advbench": "prompts_advbench"}  # further examples that no study need bring itself


def task(study: Study, name: str, seed: int) -> TaskData:
    """A task's examples: train drawn from `seed`, test the same for every seed.

    Errors as `tasks.load` and `tasks.load_own`.
    """
    setting = study.tasks[name]
    train = setting.examples or (study.training.examples if study.training else None)
    items = study.items(name)
    if setting.source == "file":
        here = paths.data(study.name)
        files = here / str(setting.train), here / setting.test if setting.test else None
        return load_own(name, *files, seed, train, items, setting.pattern)
    kept = lock.entry(study, "tasks", name) or {}
    return load(str(setting.data), seed, train, items, kept.get("files"))


def prompts(study: Study, name: str) -> tuple[Prompt, ...]:
    """A benchmark's prompts, in their order; where the study asks for fewer, those drawn by hash.

    So which are asked hangs neither on the order of the file nor on the other prompts.
    GroundedError where there are too few, or a text holds no prompt; SourceError for a file that
    changed since the study's first run.
    """
    found, number = by_hash(study, name), study.benchmarks[name].prompts
    if number is not None and number > len(found):
        raise GroundedError(
            f"benchmarks.{name}.prompts: found {number}, wanted at most {len(found)}, of which "
            "there are"
        )
    return tuple(sorted(found[:number], key=lambda prompt: prompt.id))


def by_hash(study: Study, name: str) -> list[Prompt]:
    """All prompts that a benchmark has, by the sha256 of their text; errors as `prompts`."""
    setting = study.benchmarks[name]
    if setting.source == "file":
        file = paths.data(study.name) / str(setting.file)
        found = benchmarks.from_csv(file, str(setting.column), setting.category)
    else:
        kept = lock.entry(study, "benchmarks", name) or {}
        _unchanged(str(setting.data), kept)
        found = benchmarks.load(str(setting.data), kept.get("revision"))
    if study.generation.samples > 1 and found[-1].id >= STRIDE:
        raise GroundedError(
            f"benchmarks.{name}: found {found[-1].id + 1:,} prompts in its file, wanted at most "
            f"{STRIDE:,} where several replies are sampled"
        )
    return sorted(found, key=lambda p: (fingerprint.text(p.text), p.id))


def contexts(study: Study) -> dict[str, str]:
    """The context of each prompt that has one, by the prompt's text; errors as `prompts`."""
    found = (prompt for name in study.benchmarks for prompt in prompts(study, name))
    return {prompt.text: prompt.context for prompt in found if prompt.context}


def material(study: Study, kind: str, number: int, seed: int) -> list[Example]:
    """So many further examples of a kind, drawn from `seed`; no benchmark's prompt is among them.

    From the file that the study names, JSON Lines of prompt and completion, or from `advbench`: the
    goals that alignment may see, each with its target. A prompt is a benchmark's if it says the
    same, case, spaces and punctuation aside. GroundedError where the study names none, or where
    there are too few.
    """
    where = f"{paths.shown(paths.study_file(study.name))}: material.{kind}"
    if kind not in study.material:
        raise GroundedError(f"{where}: found nothing, wanted a file of prompts and completions")
    asked = {key(prompt.text) for name in study.benchmarks for prompt in prompts(study, name)}
    found = [
        Example(prompt, completion, completion)
        for prompt, completion in _pairs(study, study.material[kind])
        if key(prompt) not in asked
    ]
    if len(found) < number:
        raise GroundedError(f"{where}: found {len(found)} examples, wanted at least {number}")
    random.Random(f"material {kind} {seed}").shuffle(found)
    return found[:number]


def _pairs(study: Study, name: str) -> Iterator[tuple[str, str]]:
    if name in PINNED:
        yield from benchmarks.advbench_goals(sources.fetch(PINNED[name]))[0]
        return
    file = paths.data(study.name) / name
    for row, values in jsonl_rows(file, ("prompt", "completion")):
        yield (text(file, row, "prompt", values["prompt"]),
               text(file, row, "completion", values["completion"]))  # fmt: skip


def _unchanged(data: str, kept: dict) -> None:
    place = BENCHMARKS[data].data
    if not isinstance(place, HubFiles) or not kept:
        return  # a file of the web has its sha256 in the code
    for file in hub_files(place, kept["revision"]):
        wanted, found = kept["files"].get(file.name), fingerprint.file(file)
        if found != wanted:
            raise SourceError(
                f"{place.repository}: {file.name}: sha256: found {found}, wanted {wanted} as in "
                "the study's lock; the file is not the one that the study was begun with"
            )
