"""What the code under test pins by content, pinned anew to what the stand-ins hold.

Names, addresses' paths, revisions and label tokens stay as they are: those the stand-ins have.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from grounded import fingerprint, sources
from standins.hub import WEB


def renew() -> None:
    """Pin files of the web and prompt texts to what STANDINS_WEB holds and HF_ENDPOINT serves.

    Judges only where they are loaded already: they take seconds to import.
    """
    web = Path(os.environ["STANDINS_WEB"])
    files = {n: web / s.url.removeprefix("https://") for n, s in sources.SOURCES.items()}
    for name, file in files.items():
        if file.exists():
            source, sha256 = sources.SOURCES[name], fingerprint.file(file)
            sources.SOURCES[name] = replace(source, url=_served(source.url), sha256=sha256)
    _tasks()
    if "grounded.public.judges" in sys.modules:
        _judges(files["template_harmbench"], files["template_wildguard"])


def _served(url: str) -> str:
    return url.replace("https://", f"{os.environ['HF_ENDPOINT']}{WEB}")


def _tasks() -> None:
    from grounded.public.tasks import TASKS
    from grounded.public.tasks.fetching import TaskFile, WebFile

    def moved(file: TaskFile) -> TaskFile:
        place = file.place
        return TaskFile(
            replace(place, url=_served(place.url)) if isinstance(place, WebFile) else place, None
        )

    for name, task in TASKS.items():
        TASKS[name] = replace(task, files={part: moved(f) for part, f in task.files.items()})


def _judges(harmbench_file: Path, wildguard_file: Path) -> None:
    from grounded.public.judges import harmbench, templates, wildguard

    for key in harmbench.SHA256:
        text = templates.constant(harmbench_file, harmbench.CONSTANT, key)
        harmbench.SHA256[key] = templates.sha256(text)
    text = templates.constant(wildguard_file, wildguard.CONSTANT)
    defaults = wildguard.WildGuard.__init__.__kwdefaults__ or {}
    defaults["template_sha256"] = templates.sha256(text)
