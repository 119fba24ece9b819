"""Public data, named by pinned URL, sha256 and licence: from a mirror folder, or downloaded once.

They stand in `sources.csv` beside this module: a new study adds its lines there, and nothing else
changes. None of this data is committed.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from grounded import fingerprint, paths
from grounded.errors import GroundedError

FILE = Path(__file__).with_suffix(".csv")


class SourceError(GroundedError):
    """Public data that is not the file it was when this was written, or an unknown name."""


class SourceAbsent(SourceError):
    """Public data that could not be had: in no mirror, not in the cache, and not reachable."""


@dataclass(frozen=True)
class Source:
    """A public file. `mirror` is its path in a mirror folder, and in the cache of downloads."""

    name: str
    url: str
    sha256: str
    licence: str
    mirror: str


def _table() -> dict[str, Source]:
    with FILE.open(encoding="utf-8", newline="") as rows:
        return {row["name"]: Source(**row) for row in csv.DictReader(rows)}


SOURCES = _table()


def fetch(name: str) -> Path:
    """The file of that name, its sha256 verified, on this machine.

    Taken from the folder that GROUNDED_MIRROR names where it holds the file, else from
    .cache/sources, else downloaded into the latter with a progress bar.
    SourceError for an unknown name, a mirror that is no folder, or a file whose content changed;
    SourceAbsent when the file is nowhere to be had.
    """
    if name not in SOURCES:
        raise SourceError(f"sources: found {name!r}, wanted one of {', '.join(sorted(SOURCES))}")
    source = SOURCES[name]
    mirror = os.environ.get("GROUNDED_MIRROR")
    if mirror:
        if not Path(mirror).is_dir():
            raise SourceError(f"GROUNDED_MIRROR: found {mirror!r}, wanted an existing folder")
        file = Path(mirror) / source.mirror
        if file.exists():
            _check(source, file, str(file))
            return file
    file = paths.home() / ".cache" / "sources" / source.mirror
    if not (file.exists() and fingerprint.file(file) == source.sha256):
        _download(source, file)
    return file


def _check(source: Source, file: Path, shown: str) -> None:
    found = fingerprint.file(file)
    if found != source.sha256:
        raise SourceError(
            f"{source.name}: {shown}: sha256: found {found}, wanted {source.sha256}; "
            "the file is not the one that this study was written for"
        )


def _download(source: Source, file: Path) -> None:
    import pooch  # with requests, half a second: only a download pays it
    import requests
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")  # its notes hold the machine's paths

    def download(url: str, output: str, pup: pooch.Pooch) -> None:
        # pooch puts the true total in, but asks before whether there is one
        label = f"fetching {source.name}"
        with tqdm(desc=label, total=1, unit="B", unit_scale=True, leave=False) as bar:
            pooch.HTTPDownloader(progressbar=bar)(url, output, pup)
        _check(source, Path(output), url)  # before pooch, whose message is not one line

    try:
        pooch.retrieve(
            source.url, source.sha256, fname=file.name, path=file.parent, downloader=download
        )
    except requests.RequestException as error:
        raise SourceAbsent(
            f"{source.name}: found neither a copy nor a way to {source.url} "
            f"({type(error).__name__}); wanted that file (sha256 {source.sha256}) as "
            f"{paths.shown(file)}, or as {source.mirror} in the folder that GROUNDED_MIRROR names"
        ) from error
    except OSError as error:  # requests' own errors, caught above, are OSErrors too
        raise SourceError(
            f"{source.name}: {paths.shown(file)}: found no way to write it ({error.strerror}), "
            "wanted a folder with room for a few megabytes"
        ) from error
