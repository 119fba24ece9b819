"""Put a study in place from an archive of `make export`: all of it, or nothing.

An archive may come from anybody. Nothing is written before every name, size, sha256, the study
file and the room on the disk were looked at; contents are streamed, never held in memory.
"""

import hashlib
import lzma
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field, ValidationError

from grounded import fingerprint, paths, study
from grounded.errors import GroundedError
from grounded.records import replacing
from grounded.study.text import LARGEST as LARGEST_TEXT

METADATA = "ro-crate-metadata.json"
WRITABLE = ("data/", "figures/")  # what an archive may put in place
LARGEST = 4 * 10**9  # bytes of an archive's files; those of `micro` take 2% of it
LARGEST_METADATA = 10**8
BROKEN = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
          lzma.LZMAError)  # fmt: skip  # what zipfile raises of a file that is no whole archive


class _Entity(BaseModel):
    id: str = Field(alias="@id")
    sha256: str | None = None


class _Crate(BaseModel):
    graph: list[_Entity] = Field(alias="@graph")


def bring(archive: Path) -> str:
    """Put the data and figures of an archive in place; the study's name.

    GroundedError, in one line and with nothing written, for a file that is no such archive, holds
    more than one study or none, a name that leads elsewhere, a file where a folder belongs or the
    reverse, a changed or missing file, more bytes than `LARGEST` or than there is room for, and
    for a file that is there already with another content.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            told = _told(opened, archive)
            name, wanted = _wanted(opened, told, archive)
            _room(wanted, archive)
            for one in wanted:
                place = paths.home() / one.filename
                if not place.exists():
                    with replacing(place) as file, file.open("wb") as target:
                        with opened.open(one) as source:
                            shutil.copyfileobj(source, target)
    except BROKEN as error:
        found = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
        raise GroundedError(
            f"{archive}: found {' '.join(found.split())[:200] or type(error).__name__}, wanted an "
            "archive of `make export`"
        ) from None
    return name


def _told(opened: zipfile.ZipFile, archive: Path) -> dict[str, str]:
    """Name -> sha256 of every file that the metadata name, once the list of files fits."""
    files = {one.filename: one for one in opened.infolist()}
    if METADATA not in files:
        raise GroundedError(f"{archive}: found no {METADATA}, wanted an archive of `make export`")
    if len(files) < len(opened.infolist()):
        raise GroundedError(f"{archive}: found a name twice, wanted each file once")
    size = sum(one.file_size for one in files.values())
    if size > LARGEST or files[METADATA].file_size > LARGEST_METADATA:
        raise GroundedError(f"{archive}: found {size:,} bytes unpacked, wanted {LARGEST:,} at most")
    for name in files:
        parts = PurePosixPath(name).parts
        if "/".join(parts) != name or ".." in parts or "\\" in name or not name.isprintable():
            raise GroundedError(f"{archive}: found the name {name!r}, wanted a file's, below data/")
        if folder := next((str(p) for p in PurePosixPath(name).parents if str(p) in files), None):
            raise GroundedError(
                f"{archive}: found {folder!r} as a file and as a folder, wanted one of them"
            )
    crate = _Crate.model_validate_json(opened.read(METADATA))
    return {one.id: one.sha256 for one in crate.graph if one.sha256 is not None}


def _wanted(
    opened: zipfile.ZipFile, told: dict[str, str], archive: Path
) -> tuple[str, list[zipfile.ZipInfo]]:
    """The study's name and the files to put in place; every file was held to its sha256."""
    files = {one.filename: one for one in opened.infolist() if one.filename != METADATA}
    for name in sorted(told.keys() | files.keys()):
        found = _sha(opened, files[name]) if name in files else "no such file"
        if found != (wanted := told.get(name, "no such file")):
            raise GroundedError(f"{archive}: {name}: found sha256 {found}, wanted {wanted}")
    keep = [n for n in sorted(files) if n.startswith(WRITABLE) and n != "data/README.md"]
    studies = {name.split("/")[1] for name in keep}
    asks = f"data/{min(studies, default='')}/study.yaml"
    if len(studies) != 1 or asks not in files:
        raise GroundedError(
            f"{archive}: found {', '.join(sorted(studies)) or 'nothing'} below data/ and figures/, "
            "wanted one study, with its study.yaml"
        )
    if files[asks].file_size > LARGEST_TEXT:
        raise GroundedError(f"{archive}: {asks}: found more than {LARGEST_TEXT:,} bytes")
    asked = study.parse(opened.read(asks).decode("utf-8"), f"{archive}: {asks}")
    if {asked.name} != studies:
        raise GroundedError(f"{archive}: {asks}: name: found {asked.name!r}, wanted its folder's")
    for name in keep:
        _free(paths.home() / name, opened, files[name])
    return asked.name, [files[name] for name in keep]


def _free(place: Path, opened: zipfile.ZipFile, one: zipfile.ZipInfo) -> None:
    """Refuse a place that is taken by something else."""
    folders = [p for p in place.parents if p.is_relative_to(paths.home())]
    if place.is_dir() or any(p.exists() and not p.is_dir() for p in folders):
        raise GroundedError(
            f"{paths.shown(place)}: found a file where the archive has a folder, or the reverse; "
            "nothing was changed (move it away first)"
        )
    if place.exists() and fingerprint.file(place) != _sha(opened, one):
        raise GroundedError(
            f"{paths.shown(place)}: found another content than the archive has, wanted the "
            "same or no file; nothing was changed (move it away first)"
        )


def _room(wanted: list[zipfile.ZipInfo], archive: Path) -> None:
    place = next(p for p in (paths.home(), *paths.home().parents) if p.exists())
    need, free = sum(one.file_size for one in wanted), shutil.disk_usage(place).free
    if need > free:
        raise GroundedError(
            f"{archive}: found {free:,} bytes free in {place}, wanted room for {need:,}"
        )


def _sha(opened: zipfile.ZipFile, one: zipfile.ZipInfo) -> str:
    with opened.open(one) as source:
        return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]
