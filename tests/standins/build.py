"""The whole stock: repositories of the model hub and files of the web, in one folder."""

import hashlib
from pathlib import Path

from grounded import loading
from standins import datasets, judges, models
from standins.hub import Repository, Stock


def build(folder: Path) -> Stock:
    """Make every stand-in in `folder`.

    A repository's commit is the one that the code under test pins; where it pins none, a hash of
    the repository's name.
    """
    loading.quiet()
    made = {}
    makers = {**models.MAKERS, **models.OTHERS, **judges.MAKERS}
    for kind, part in (("models", makers), ("datasets", datasets.HUB)):
        for name, maker in part.items():
            where = folder / kind / name
            where.mkdir(parents=True)
            maker(where)
            (where / "README.md").write_text("A stand-in.\n", encoding="utf-8")
            commit = _pinned().get(name) or hashlib.sha1(name.encode()).hexdigest()
            gated = name in {*models.GATED, *judges.GATED, *datasets.GATED}
            made[name] = Repository(kind, name, where, commit, gated)
    for address, content in {**datasets.web(), **judges.web()}.items():
        file = folder / "web" / address.removeprefix("https://")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return Stock(made, folder / "web")


def _pinned() -> dict[str, str | None]:
    """The commits that the code under test names, by repository."""
    from grounded.public.benchmarks import BENCHMARKS
    from grounded.public.files import HubFiles
    from grounded.public.judges import JUDGES
    from grounded.public.tasks import TASKS

    places = [
        *(known.files for known in JUDGES.values()),
        *(known.adapter for known in JUDGES.values()),
        *(benchmark.data for benchmark in BENCHMARKS.values()),
        *(file for task in TASKS.values() for file in task.files.values()),
    ]
    return {place.repository: place.revision for place in places if isinstance(place, HubFiles)}
