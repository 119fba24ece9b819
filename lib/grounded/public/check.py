"""Before anything is spent: is all that a study names within reach, and is there room for it?"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grounded import paths
from grounded.errors import GroundedError
from grounded.public import brought, lock
from grounded.public.budget import CHIPS, GIB, Budget, budget, size_of
from grounded.study import PublicJudge, Study
from grounded.study.models import PublicModel
from grounded.study.reading import whole

GOOD, BAD, SPARE = "ok", "FAIL", "left out"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: `ok`, `FAIL`, or `left out` (optional, and out of reach)."""

    state: str
    what: str
    found: str

    def __str__(self) -> str:
        return f"  {self.state:8}  {self.what}: {self.found}"


def check(name: str) -> tuple[list[Line], Budget]:
    """All lines of a study's check, and what it would cost.

    Every repository is asked for with the token at hand; small data files are fetched and held to
    their hashes; what the study brings in files of its own is read; weights of the hub are not
    downloaded, but those that are here are asked what they alone can confirm. GroundedError for a
    study file that cannot be read.
    """
    study = whole(name)
    found = lock.resolve(name, access_only=True)
    lines = [_access(one) for one in found if one.need.hub]
    lines += list(_files(found))
    lines += [Line(GOOD if right else BAD, what, said) for what, said, right in brought.look(study)]
    sizes = _sizes(study, found)
    device = _device()
    chip = next((c for c in CHIPS if device and c in device[0]), "H100")
    cost = budget(study, sizes, chip, brought.prompts(study))
    lines += [_disk(found, cost), _gpu(cost, device)]
    if lock.read(name):  # weights are looked for at the commits that a first run has kept
        from grounded.public.confirm import confirm

        for what, said, right in confirm(study, found):
            lines.append(Line(GOOD if right else BAD, f"{what} (its weights)", said))
    return lines, cost


def failed(lines: list[Line]) -> bool:
    """Whether a line fails that the study cannot do without."""
    return any(line.state == BAD for line in lines)


def _access(one: lock.Found) -> Line:
    need = one.need
    assert need.hub is not None
    where = need.hub.repository
    if one.problem:
        return Line(SPARE if need.optional else BAD, need.said, one.problem)
    size = f", {one.bytes / GIB:.1f} GiB" if one.bytes else ""
    at = f" at {one.revision[:12]}" if one.revision else ""
    return Line(GOOD, need.said, f"{where}{at}{size}")


def _files(found: list[lock.Found]) -> Iterator[Line]:
    from grounded.public.tasks import fetching

    for one in found:
        for name, file in one.need.files:
            try:
                got = fetching.fetch(file)
            except GroundedError as error:
                yield Line(
                    SPARE if one.need.optional else BAD, f"{one.need.said}.{name}", str(error)
                )
                continue
            said = f"{got.path.stat().st_size:,} bytes, sha256 {got.sha256[:12]}"
            yield Line(GOOD, f"{one.need.said}.{name}", said)


def _sizes(study: Study, found: list[lock.Found]) -> dict[str, float]:
    """Billions of parameters of models (as the study says) and judges (by their bytes or name)."""
    on_hub = {one.need.name: one for one in found if one.need.part == "judges" and one.need.hub}
    sizes = {n: m.size or 0.0 for n, m in study.models.items() if isinstance(m, PublicModel)}
    for name, judge in study.judges.items():
        if isinstance(judge, PublicJudge) and judge.server is None:
            one = on_hub.get(name)
            repository = one.need.hub.repository if one and one.need.hub else ""
            sizes[name] = size_of(
                f"{judge.judge} {repository} {judge.path or ''}", one.bytes if one else 0
            )
    return sizes


def _disk(found: list[lock.Found], cost: Budget) -> Line:
    """Room for weights in the hub's cache, and for adapters and tables here.

    Nothing is counted as there already: a second check may ask for too much, never for too little.
    """
    from huggingface_hub import constants

    weights = sum(one.bytes for one in found)
    wanted = {Path(constants.HF_HUB_CACHE): weights, paths.home(): cost.adapters + cost.tables}
    said, short = [], False
    for place, need in wanted.items():
        free = shutil.disk_usage(_existing(place)).free
        short |= free < need
        kind = "adapters and tables" if place == paths.home() else "weights"
        said.append(f"{need / GIB:,.0f} GiB for {kind}, {free / GIB:,.0f} free")
    hint = (
        "; set HF_HOME to a larger disk, or name fewer models, settings or seeds" if short else ""
    )
    return Line(BAD if short else GOOD, "disk", "; ".join(said) + hint)


def _existing(place: Path) -> Path:
    return place if place.exists() else _existing(place.parent)


def _device() -> tuple[str, float] | None:
    """The first GPU's name and GiB, or None."""
    import torch

    if not torch.cuda.is_available():
        return None
    about = torch.cuda.get_device_properties(0)
    return about.name, about.total_memory / GIB


def _gpu(cost: Budget, device: tuple[str, float] | None) -> Line:
    need = f"{cost.memory:,.0f} GiB needed"
    if device is None:
        small = cost.memory < 1  # stand-ins, and models that a CPU runs in minutes
        hint = "" if small else "; run it where there is one, or name smaller models and judges"
        return Line(GOOD if small else BAD, "GPU memory", f"{need}, found no GPU{hint}")
    short = device[1] < cost.memory
    hint = "; name smaller models or judges, or a larger GPU" if short else ""
    used = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    said = f"{need}, {device[1]:,.0f} on {device[0]} (CUDA_VISIBLE_DEVICES {used}){hint}"
    return Line(BAD if short else GOOD, "GPU memory", said)
