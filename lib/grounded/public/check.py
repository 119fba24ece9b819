"""Before anything is spent: is all that a study names within reach, and is there room for it?"""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from grounded import paths
from grounded.errors import GroundedError
from grounded.public import brought, lock
from grounded.public.budget import CHIPS, CPU, GIB, Budget, budget, size, size_of
from grounded.public.confirm import cached, confirm
from grounded.public.harness import RELEASE, Harness
from grounded.public.lock import Found
from grounded.study import PublicJudge, Study, locked
from grounded.study.models import PublicModel
from grounded.study.reading import whole

GOOD, BAD, SPARE, UNKNOWN = "ok", "FAIL", "left out", "unknown"
WEEK = 7 * 24  # hours: what would take a CPU longer wants a GPU


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    state: `ok`, `FAIL`, `left out` (optional, and out of reach), or `unknown` (nobody told).
    """

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
    lines += [*_wheels(study), *_servers(study), *_files(found), *_harness(study)]
    lines += [Line(GOOD if right else BAD, what, said) for what, said, right in brought.look(study)]
    sizes = _sizes(study, found)
    device = _device()
    chip = next((c for c in CHIPS if c in device[0]), "H100") if device else CPU
    cost, one = (budget(study, sizes, c, brought.prompts(study)) for c in (chip, "H100"))
    lines += [_disk(found, cost), _memory(cost, device), _time(cost, one)]
    if locked.read(name):  # weights are looked for at the commits that a first run has kept
        for what, said, right in confirm(study, found):
            lines.append(Line(GOOD if right else BAD, f"{what} (its weights)", said))
    return lines, cost


def _access(one: Found) -> Line:
    need = one.need
    assert need.hub is not None
    where = need.hub.repository + (f" at {one.revision[:12]}" if one.revision else "")
    if not one.reached and one.revision and cached(one):
        return Line(GOOD, need.said, f"{where}, in the hub's cache (the hub was not reached)")
    if one.problem:
        lost = f"{where}: the hub did not answer, and no copy is in its cache (HF_HOME)"
        return Line(
            SPARE if need.optional else BAD, need.said, one.problem if one.reached else lost
        )
    return Line(GOOD, need.said, f"{where}, {size(one.bytes) if one.bytes else 'size unknown'}")


def _wheels(study: Study) -> Iterator[Line]:
    """Models that come as wheels: whether they are here; the registry is not asked."""
    mirror = os.environ.get("GROUNDED_MIRROR")
    places = [paths.home() / ".cache" / "wheels", *([Path(mirror, "wheels")] if mirror else [])]
    for name, model in study.models.items():
        wheel = model.wheel if isinstance(model, PublicModel) else None
        if wheel is None:
            continue
        files = f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl"
        here = any(any(place.glob(files)) for place in places)
        what = f"{wheel.package} {wheel.version}, "
        what += "here" if here else "not here: the first run fetches it by pip"
        yield Line(GOOD if here else UNKNOWN, f"models.{name}", what)


def _servers(study: Study) -> Iterator[Line]:
    """Servers that the study names: whether something answers at their addresses, within 5 s."""
    servers = {"generation.server": study.generation.server}
    servers |= {
        f"judges.{name}.server": judge.server
        for name, judge in study.judges.items() if isinstance(judge, PublicJudge)
    }  # fmt: skip
    for what, server in servers.items():
        if server is None:
            continue
        place = urlsplit(server.url)
        shown = place._replace(netloc=place.netloc.rpartition("@")[2]).geturl()  # no password
        try:
            port = place.port or {"http": 80}.get(place.scheme, 443)
            socket.create_connection((str(place.hostname), port), timeout=5).close()
        except (OSError, ValueError) as error:
            yield Line(BAD, what, f"{shown}: found no answer ({type(error).__name__})")
        else:
            yield Line(GOOD, what, f"something answers at {shown}")


def _harness(study: Study) -> Iterator[Line]:
    """The harness's tasks: whether it is installed and knows them; their data are not asked for."""
    if study.harness is not None:
        said = ", ".join(study.harness.tasks)
        try:
            Harness(study)
        except GroundedError as error:
            yield Line(BAD, "harness", str(error))
        else:
            yield Line(UNKNOWN, "harness", f"lm-eval {RELEASE} knows {said}; it fetches their data")


def _files(found: list[Found]) -> Iterator[Line]:
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


def _sizes(study: Study, found: list[Found]) -> dict[str, float]:
    """Billions of parameters: of models as the study says, of judges by their bytes or name."""
    on_hub = {one.need.name: one for one in found if one.need.part == "judges" and one.need.hub}
    sizes = {n: m.size or 0.0 for n, m in study.models.items() if isinstance(m, PublicModel)}
    for name, judge in study.judges.items():
        if isinstance(judge, PublicJudge) and judge.server is None:
            one = on_hub.get(name)
            repository = one.need.hub.repository if one and one.need.hub else ""
            weights = one.bytes if one else 0
            if judge.path:
                weights = brought.weigh(paths.data(study.name) / judge.path)
            sizes[name] = size_of(f"{judge.judge} {repository} {judge.path or ''}", weights)
    return sizes


def _disk(found: list[Found], cost: Budget) -> Line:
    """Room for weights in the hub's cache, and for adapters and tables here.

    Nothing is counted as there already: a second check may ask for too much, never for too little.
    """
    from huggingface_hub import constants

    weights, here = sum(one.bytes for one in found), cost.adapters + cost.tables
    lost = [one.need.said for one in found if one.need.hub and not (one.bytes or one.need.optional)]
    wanted = [(paths.home(), here, f"{size(here)} for adapters and tables")]
    if any(one.need.hub for one in found):
        known = size(weights) if weights or not lost else "unknown"
        least = "at least " if weights and lost else ""
        hub = Path(constants.HF_HUB_CACHE)
        wanted.insert(0, (hub, weights, f"{least}{known} for weights of the hub"))
    said, short = [], False
    for place, need, what in wanted:
        free = shutil.disk_usage(_existing(place)).free
        short |= free < need
        said.append(f"{what}, {size(free)} free")
    hint = f" (nobody told the size of {', '.join(lost)})" if lost else ""
    if short:
        hint += "; set HF_HOME to a larger disk, or name fewer models, settings or seeds"
    return Line(BAD if short else UNKNOWN if lost else GOOD, "disk", "; ".join(said) + hint)


def _existing(place: Path) -> Path:
    return place if place.exists() else _existing(place.parent)


def _device() -> tuple[str, float] | None:
    """The first GPU's name and GiB, or None."""
    import torch

    if not torch.cuda.is_available():
        return None
    about = torch.cuda.get_device_properties(0)
    return about.name, about.total_memory / GIB


def _memory(cost: Budget, device: tuple[str, float] | None) -> Line:
    """Room for the largest model or judge: on the GPU, else in this machine's memory."""
    lost = [one for one in cost.unknown if one.startswith("size")]
    if device is None:
        import psutil

        need, have = 2 * cost.memory, psutil.virtual_memory().total / GIB  # 32 bits on a CPU
        what, where = "memory", "here, and no GPU"
    else:
        need, have = cost.memory, device[1]
        used = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        what, where = "GPU memory", f"on {device[0]} (CUDA_VISIBLE_DEVICES {used})"
    least = "at least " if lost else ""
    said = f"{least}{size(need * GIB)} needed, {size(have * GIB)} {where}"
    if lost:
        said += f" ({', '.join(lost)}: unknown)"
    if need > have:
        said += "; name smaller models or judges, or run it where there is a larger GPU"
    return Line(BAD if need > have else UNKNOWN if lost else GOOD, what, said)


def _time(cost: Budget, elsewhere: Budget) -> Line:
    """How long it would take here; without a GPU also on one of a large one."""
    if cost.chip != CPU:
        return Line(UNKNOWN if cost.unknown else GOOD, "time", cost.time)
    said = f"{cost.time}; {elsewhere.time}"
    if cost.hours > WEEK:
        return Line(BAD, "time", f"{said}; run it where there is a GPU, or name smaller models")
    return Line(UNKNOWN if cost.unknown else GOOD, "time", said)
