"""What a process of its own asks of the hub, with the code under test: `questions NAME JSON`.

Only GroundedError is an answer; whatever else is raised ends the process, as it would a user's.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from grounded import fingerprint, sources
from grounded.errors import GroundedError
from standins import pins

PAIRS = [("walk under the lamp", "a green garden, seven"), ("copper", "river walk")]


def _told(question: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"found": question()}
    except GroundedError as error:
        return {"error": str(error), "kind": type(error).__name__}


def files(wanted: list[dict[str, Any]], piece: int | None = None) -> Any:
    """The files of repositories, by name with their sha256; `wanted` are HubFiles' fields.

    piece: how many bytes the client writes at once, so that small files come as large ones do.
    """
    import huggingface_hub.constants

    from grounded.public.files import HubFiles, hub_folder

    if piece:
        huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = piece

    def one(fields: dict[str, Any]) -> dict[str, str]:
        folder = hub_folder(HubFiles(**fields | {"patterns": tuple(fields["patterns"])}))
        found = (file for file in folder.rglob("*") if file.is_file())
        return {str(file.relative_to(folder)): fingerprint.file(file) for file in found}

    return [_told(partial(one, fields)) for fields in wanted]


def commits(names: dict[str, str]) -> Any:
    """What the hub's client says `main` is, of repositories by kind."""
    from huggingface_hub import HfApi

    return {name: HfApi().repo_info(name, repo_type=kind).sha for name, kind in names.items()}


def access(names: dict[str, str]) -> Any:
    """What the hub's client says of access to repositories by kind: None, or the error's name."""
    from huggingface_hub import HfApi, errors

    found: dict[str, str | None] = dict.fromkeys(names)
    for name, kind in names.items():
        try:
            HfApi().auth_check(name, repo_type=kind)
        except errors.HfHubHTTPError as error:
            found[name] = type(error).__name__
    return found


def models(revisions: dict[str, str]) -> Any:
    """Of each model: its class, its weights, and what it replies to one prompt twice."""
    from grounded import generate, loading
    from grounded.public.files import HubFiles, hub_folder
    from grounded.public.likelihood import requests

    patterns = ("*.json", "*.jinja", "*.safetensors")
    found = {}
    for name, revision in revisions.items():
        folder = hub_folder(HubFiles(name, patterns, revision, "its own", kind="model"))
        model, tokenizer = loading.load(folder)
        replies = generate.reply(model, tokenizer, ["walk under a lamp", "kite"] * 2, 8, 3)
        off, dated = {"enable_thinking": False}, {"date_string": "02 Feb 2024"}
        asked = [requests(tokenizer, "walk", ["a"], True, o)[0][0] for o in (off, dated, {})]
        found[name] = {
            "class": type(model).__name__,
            "tied": model.config.tie_word_embeddings,
            "replies": [(reply.text, reply.finish, reply.tokens) for reply in replies],
            "asked": asked,
            "weights": sorted(file.name for file in folder.rglob("*.safetensors")),
            "pickles": [file.name for file in folder.rglob("*.pth")],
        }
    return found


def judges(revisions: dict[str, str], texts: dict[str, str]) -> Any:
    """Every published judge by its hub id: its verdicts, and what it says of itself.

    texts: the files of prompt texts that no source pins, by judge.
    """
    from grounded.public.judges import JUDGES, load

    pins.renew()

    def one(name: str) -> dict[str, Any]:
        files = JUDGES[name].files
        revision = None if files.revision else revisions[files.repository]
        text = Path(texts[name]) if name in texts else None
        judge = load(name, revision=revision, template_file=text)
        verdicts = judge.judge(PAIRS)
        return {
            "revision": judge.revision,
            "template": judge.template,
            "verdicts": [(v.label, v.parsed, v.mass) for v in verdicts],
        }

    return {name: _told(partial(one, name)) for name in JUDGES}


def tasks(sizes: dict[str, tuple[int, int | None]]) -> Any:
    """Public tasks, drawn to (train, test): how many examples there are, and the test items."""
    from grounded.public.tasks import TASKS, fetching, load

    pins.renew()

    def one(name: str, train: int, test: int | None) -> dict[str, Any]:
        found = load(name, 0, train, test)
        places = TASKS[name].files.items()
        shas = {part: fetching.fetch(place).sha256 for part, place in places}
        return {
            "train": [example.prompt for example in found.train],
            "test": [example.prompt for example in found.test],
            "choices": [len(example.choices) for example in found.test],
            "again": load(name, 0, train, test, shas) == found,
        }

    return {name: _told(partial(one, name, *size)) for name, size in sizes.items()}


def benchmarks(revisions: dict[str, str]) -> Any:
    """Every benchmark: (text, category, harmful, key) of its prompts."""
    from grounded.public.benchmarks import BENCHMARKS, load

    pins.renew()

    def one(name: str) -> list[Any]:
        revision = revisions.get(name)
        return [(p.text, p.category, p.harmful, p.key) for p in load(name, revision)]

    return {name: _told(partial(one, name)) for name in BENCHMARKS}


def source(name: str) -> Any:
    """One file of the web, by the name of its source."""
    pins.renew()
    return _told(lambda: fingerprint.file(sources.fetch(name)))


def resolve(study: str, steps: list[dict[str, Any]]) -> Any:
    """Of each step what the lock then holds, what was found of each need, and what is left out.

    A step may set the study's file, its lock, the token of the hub, and `access_only`.
    """
    from grounded import paths
    from grounded.public import judges as _  # noqa: F401  (so that their pins are renewed)
    from grounded.public import lock
    from grounded.study import load, locked

    pins.renew()

    def one(
        file: str = "", kept: str = "", token: str = "", access_only: bool = False
    ) -> dict[str, Any]:
        if file:
            paths.study_file(study).write_text(file)
        if kept:
            paths.lock(study).write_text(kept)
        os.environ["HF_TOKEN"] = token
        needs = lock.resolve(study, access_only)
        return {
            "needs": {one.need.said: [one.revision, one.bytes, one.problem] for one in needs},
            "lock": locked.read(study),
            "absent": load(study).absent,
            "judges": list(load(study).judges),
            "benchmarks": list(load(study).benchmarks),
        }

    return [_told(partial(one, **step)) for step in steps]


def check(study: str, resolved: bool = False) -> Any:
    """The lines of a study's check, with the counts; resolved: after the lock and all weights."""
    from dataclasses import asdict

    from grounded.public import check as checks
    from grounded.public import judges as _  # noqa: F401  (so that their pins are renewed)
    from grounded.public import lock, models
    from grounded.study import load

    pins.renew()

    def found() -> dict[str, Any]:
        if resolved:
            lock.resolve(study)
            asked = load(study)
            for unit in (*asked.models, *asked.language_judges):
                models.bring(asked, unit)
        lines, cost = checks.check(study)
        said = [[line.state, line.what, line.found] for line in lines]
        failed = any(line.state == checks.BAD for line in lines)
        return {"lines": said, "cost": asdict(cost), "failed": failed}

    return _told(found)


def stages(study: str) -> Any:
    """Every unit of every stage of a study, in this process: what was computed, by stage."""
    from importlib import import_module

    from grounded.public import judges as _  # noqa: F401  (so that their pins are renewed)
    from grounded.public import lock
    from grounded.stages import plan
    from grounded.stages.status import status
    from grounded.study import load
    from grounded.tables import left_out

    pins.renew()

    def found() -> dict[str, Any]:
        lock.resolve(study)
        asked, computed = load(study), {}
        for stage in plan.STAGES:
            one = getattr(import_module(f"grounded.stages.{stage}"), stage)
            computed[stage] = sum(one(asked, unit).computed for unit in plan.units(asked, stage))
        stale = [s for s in status(study) if s.state == "stale"]
        return {"computed": computed, "stale": stale, "caption": left_out(asked)}

    return _told(found)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
