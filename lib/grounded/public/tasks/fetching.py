"""The files of a task, from wherever they are public, and the rows that they hold."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grounded import fingerprint, paths, sources
from grounded.errors import GroundedError
from grounded.public.files import HubFiles, Row, hub_files, jsonl_rows
from grounded.sources import SourceAbsent, SourceError


@dataclass(frozen=True)
class WebFile:
    """A file at a pinned address whose sha256 nobody has told us.

    `mirror` is its path in a mirror folder, and in the cache of downloads.
    """

    url: str
    licence: str
    mirror: str


Place = str | WebFile | HubFiles  # the name of a source, a file on the web, or one on the hub


@dataclass(frozen=True)
class Found:
    """A file on this machine, and the sha256 of its content."""

    path: Path
    sha256: str


def fetch(place: Place, sha256: str | None = None) -> Found:
    """The file, on this machine; its content is checked where a sha256 is known.

    sha256: as the study's lock has it, from the first download.
    SourceError for a file that changed (both hashes are shown); SourceAbsent for one out of reach.
    """
    if isinstance(place, str):
        name, path = place, sources.fetch(place)
    elif isinstance(place, WebFile):
        name, path = place.mirror, _web(place)
    else:
        name, path = place.repository, hub_files(place)[0]
    found = fingerprint.file(path)
    if sha256 is not None and found != sha256:
        raise SourceError(
            f"{name}: {paths.shown(path)}: sha256: found {found}, wanted {sha256}; "
            "the file is not the one that this study was written for"
        )
    return Found(path, found)


def _web(file: WebFile) -> Path:
    """From the folder that GROUNDED_MIRROR names, else .cache/sources, else downloaded there."""
    mirror = os.environ.get("GROUNDED_MIRROR")
    if mirror and (Path(mirror) / file.mirror).exists():
        return Path(mirror) / file.mirror
    import pooch  # with requests, half a second: only a download pays it
    import requests

    pooch.get_logger().setLevel("WARNING")  # its notes hold the machine's paths
    path = paths.home() / ".cache" / "sources" / file.mirror
    try:
        pooch.retrieve(file.url, known_hash=None, fname=path.name, path=path.parent)
    except (requests.RequestException, OSError) as error:
        raise SourceAbsent(
            f"{file.mirror}: found neither a copy nor a way to {file.url} "
            f"({type(error).__name__}); wanted that file as {paths.shown(path)}, or as "
            f"{file.mirror} in the folder that GROUNDED_MIRROR names"
        ) from error
    return path


def rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a .jsonl, .json (a list of objects) or .parquet file, numbered from 1.

    GroundedError for a file that is missing or broken, or a row without one of `columns`.
    """
    if file.suffix == ".jsonl":
        yield from jsonl_rows(file, columns)
        return
    import pyarrow.parquet

    try:
        found: Any = (
            pyarrow.parquet.read_table(file).to_pylist()
            if file.suffix == ".parquet"
            else json.loads(file.read_bytes())
        )
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # of a text, only the kind
        raise GroundedError(
            f"{paths.shown(file)}: found {type(error).__name__}, wanted a table in {file.suffix}"
        ) from error
    # what is no table is one row, which lacks the columns
    for number, row in enumerate(found if isinstance(found, list) else [found], start=1):
        for column in columns:
            if not isinstance(row, dict) or column not in row:
                raise GroundedError(
                    f"{paths.shown(file)}: row {number}: field {column!r}: found none, wanted one"
                )
        yield number, row
