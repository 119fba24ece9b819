"""What the names of a real study stood for at its first run: data/<study>/lock.json.

Of each repository of the hub the commit, of each data file its sha256, of each judge the sha256 of
its prompt text; and which optional judges and benchmarks this machine had no access to. Later runs
use what is kept and ask nobody; only what was absent is asked for again.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from grounded import fingerprint, paths, records
from grounded.errors import GroundedError
from grounded.public.files import NoAccess, hub_commit, hub_files
from grounded.public.needs import Need, needs
from grounded.sources import SourceAbsent
from grounded.study import Study, locked
from grounded.study.reading import absent, whole

Lock = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What was found of a need: the commit, the bytes of its files, or the problem in one line.

    bytes: of what is on the hub; 0 for files of the web, whose sizes nobody tells. reached: False
    where the hub did not answer, so that nothing is known.
    """

    need: Need
    revision: str | None = None
    bytes: int = 0
    problem: str = ""
    reached: bool = True


def entry(study: Study, part: str, name: str) -> Lock | None:
    """What is kept of a part of the study; None where nothing is, or of another one than it names.

    part: as a `Need` has it. Asks nobody.
    """
    found = locked.read(study.name).get(part, {}).get(name)
    if found is None:
        return None
    wanted: dict[str, Any] = {}
    if part in ("models", "pretrained"):
        model = study.public_model(name)
        place = model if part == "models" else model.pretrained
        wanted = {"repository": getattr(place, "repository", None),
                  "revision": getattr(place, "revision", None)}  # fmt: skip
    elif part in ("tasks", "benchmarks"):
        one = getattr(study, part)[name]
        wanted = {"known": one.data, "revision": getattr(one, "revision", None)}
    elif part == "judges":
        judge = study.judge(name)
        fields = {"known": "judge", "revision": "revision", "repository": "repository"}
        wanted = {key: getattr(judge, field, None) for key, field in fields.items()}
    same = all(value is None or found.get(key) == value for key, value in wanted.items())
    return dict(found) if same else None


def resolve(study: str, access_only: bool = False) -> list[Found]:
    """See to it that the lock holds all that the study names, and say what was found.

    Only what the lock lacks is asked for: commits of the hub, and the data files, which are
    downloaded (weights are not). An optional judge or benchmark without access goes into `absent`.
    access_only: ask for everything, download and write nothing, raise nothing that `problem` can
    say: for a look before anything is spent. Empty where nothing is named that the lock lacks.
    GroundedError, a line each, for what is gated without access, missing, changed or out of reach.
    """
    asked = whole(study)
    if asked.world == "microworld":
        return []
    if access_only:
        return [_looked(asked, need) for need in needs(asked)]
    with _alone(study):
        lock, names = locked.read(study), _names(asked)
        if lock.get("names") == names and not lock.get("absent"):
            return []  # without the registries, which take seconds to import
        before, lost_before = json.dumps(lock, sort_keys=True), absent(asked)
        found, faults, lost = [], [], {}
        for need in needs(asked):
            known = _kept(lock, need)
            try:
                if known is None:
                    known = _resolved(lock, need)
                    lock.setdefault(need.part, {})[need.name] = known
                found.append(Found(need, known.get("revision"), known.get("bytes", 0)))
            except GroundedError as error:
                # without a network nobody knows whether what was absent still is
                still = need.absence in lost_before and isinstance(error, SourceAbsent)
                if need.optional and (isinstance(error, NoAccess) or still):
                    lost[need.absence] = lost_before.get(need.absence) or _reason(need)
                    found.append(Found(need, problem=str(error)))
                else:
                    faults.append(f"{need.said}: {error}")
        if faults:
            raise GroundedError("\n".join(faults))
        lock |= {"absent": lost, "names": names}
        if json.dumps(lock, sort_keys=True) != before:
            _write(study, lock)
    return found


def keep_prompt(study: Study, judge: str, sha256: str) -> None:
    """Keep the sha256 of a judge's prompt text; GroundedError where another one was kept."""
    with _alone(study.name):
        lock = locked.read(study.name)
        known = lock.setdefault("prompts", {}).setdefault(judge, sha256)
        if known != sha256:
            raise GroundedError(
                f"judge {judge}: prompt text: sha256: found {sha256}, wanted {known} as in "
                f"{paths.shown(paths.lock(study.name))}; its verdicts would not be those of the "
                "judge that this study names"
            )
        _write(study.name, lock)


def _names(study: Study) -> str:
    """A sha of all that the study names."""
    fields = {"models", "tasks", "benchmarks", "judges", "given"}
    return fingerprint.sha(study.model_dump(mode="json", include=fields))


def _kept(lock: Lock, need: Need) -> Lock | None:
    """What the lock holds of a need, where that is what the study wants."""
    known = lock.get(need.part, {}).get(need.name)
    if known is None or known["known"] != need.known:
        return None
    if need.hub and known.get("repository") != need.hub.repository:
        return None
    if need.hub and need.hub.revision not in (None, known.get("revision")):
        return None
    if {name for name, _ in need.files} - set(known.get("files", {})):
        return None
    return dict(known)


def _resolved(lock: Lock, need: Need) -> Lock:
    """What the lock is to hold of a need: the hub is asked, small files are fetched."""
    from grounded.public.tasks import fetching

    known: Lock = {"known": need.known}
    if need.hub:
        revision, size = hub_commit(need.hub)
        known |= {"repository": need.hub.repository, "revision": revision, "bytes": size,
                  "licence": need.hub.licence}  # fmt: skip
        if need.hub.kind == "dataset":
            files = hub_files(need.hub, revision)
            known["files"] = {file.name: fingerprint.file(file) for file in files}
    if need.files:
        before = lock.get(need.part, {}).get(need.name, {})
        shas = before.get("files", {}) if before.get("known") == need.known else {}
        known["files"] = {
            name: fetching.fetch(file, shas.get(name)).sha256 for name, file in need.files
        }
    return known


def _looked(study: Study, need: Need) -> Found:
    if need.hub is None:
        return Found(need)
    kept = _kept(locked.read(study.name), need) or {}
    revision = kept.get("revision", need.hub.revision)
    try:
        return Found(need, *hub_commit(need.hub, revision))
    except GroundedError as error:
        from huggingface_hub import constants

        lost = isinstance(error, SourceAbsent) and constants.HF_HUB_OFFLINE
        return Found(need, revision, kept.get("bytes", 0), str(error), reached=not lost)


def _reason(need: Need) -> str:
    assert need.hub is not None
    return f"{need.hub.repository} is gated, and there was no access to it"


def _write(study: str, lock: Lock) -> None:
    with records.replacing(paths.lock(study)) as temporary:
        temporary.write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def _alone(study: str) -> Iterator[None]:
    """One process at a time reads and writes the lock."""
    paths.cache(study).mkdir(parents=True, exist_ok=True)
    with (paths.cache(study) / "lock.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
