"""What the code under test pins by content, pinned anew to what the stand-ins hold.

Names, addresses' paths, revisions and label tokens stay as they are: those the stand-ins have.
"""

import os
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from grounded import fingerprint
from standins.hub import WEB


def renew() -> None:
    """Pin files of the web and prompt texts to what STANDINS_WEB holds and HF_ENDPOINT serves.

    Judges only where they are loaded already: they take seconds to import.
    """
    sources()
    tasks()
    if "grounded.public.judges" in sys.modules:
        judges()


@cache
def sources() -> dict[str, Path]:
    """The files of the web, by the name of their source."""
    from grounded.sources import SOURCES

    web = Path(os.environ["STANDINS_WEB"])
    files = {name: web / s.url.removeprefix("https://") for name, s in SOURCES.items()}
    for name, file in files.items():
        if file.exists():
            source, sha256 = SOURCES[name], fingerprint.file(file)
            SOURCES[name] = replace(source, url=_served(source.url), sha256=sha256)
    return files


def _served(url: str) -> str:
    return url.replace("https://", f"{os.environ['HF_ENDPOINT']}{WEB}")


@cache
def tasks() -> None:
    """The files of tasks that are no sources."""
    from grounded.public.tasks.fetching import Place, WebFile
    from grounded.public.tasks.official import TASKS

    def moved(place: Place) -> Place:
        return replace(place, url=_served(place.url)) if isinstance(place, WebFile) else place

    for name, task in TASKS.items():
        TASKS[name] = replace(task, files={part: moved(f) for part, f in task.files.items()})


@cache
def judges() -> None:
    """The judges' prompt texts."""
    from grounded.public.judges import harmbench, templates, wildguard

    for key in harmbench.SHA256:
        text = templates.constant(sources()["template_harmbench"], harmbench.CONSTANT, key)
        harmbench.SHA256[key] = fingerprint.text(text)
    text = templates.constant(sources()["template_wildguard"], wildguard.CONSTANT)
    defaults = wildguard.WildGuard.__init__.__kwdefaults__ or {}
    defaults["template_sha256"] = fingerprint.text(text)
