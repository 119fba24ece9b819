"""Files of the model hub's repositories at one revision, and the rows that they hold.

The hub's own client downloads, resumes, caches and knows the token; here its errors become lines.
Rows are checked as they are read: a wrong column, a broken line or an empty text is an error that
names the file, the row and the column, and shows nothing of a text.
"""

import csv
import json
import lzma
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

from grounded import paths
from grounded.errors import GroundedError
from grounded.sources import SourceAbsent, SourceError

REVISION = re.compile("[0-9a-f]{40}")
TWICE = ("original/*", "consolidated*")  # the same weights again, in their makers' own format
Row = tuple[int, dict[str, Any]]  # (row of the file, its values by column)


class NoAccess(SourceAbsent):
    """A repository that is gated, or private, for whoever asks now."""


@dataclass(frozen=True)
class HubFiles:
    """Files of one repository, by glob patterns.

    revision: 40 hex digits, or None where none is known here: the caller resolves it at the first
    run, keeps it with the study and hands it over from then on.
    """

    repository: str
    patterns: tuple[str, ...]
    revision: str | None
    licence: str
    kind: str = "dataset"


def model_files(repository: str, revision: str | None, licence: str) -> HubFiles:
    """The files of a model's repository that are ever read: no code, no pickle."""
    patterns = ("*.json", "*.jinja", "*.safetensors", "tokenizer.model")
    return HubFiles(repository, patterns, revision, licence, kind="model")


def hub_files(wanted: HubFiles, revision: str | None = None) -> list[Path]:
    """The files, on this machine, sorted by name; `revision` and errors as `hub_folder`."""
    folder = hub_folder(wanted, revision)
    return sorted({file for pattern in wanted.patterns for file in folder.glob(pattern)})


def hub_folder(wanted: HubFiles, revision: str | None = None, here_only: bool = False) -> Path:
    """The folder that holds the files: in the hub's cache, where they are downloaded if need be.

    revision: 40 hex digits, in place of the one in `wanted`. here_only: nothing is downloaded.
    SourceError where there is no revision, or none of that name; NoAccess for a repository that is
    gated without access; SourceAbsent for one that is missing or out of reach, or that holds no
    such file.
    """
    from huggingface_hub import snapshot_download

    name, at = wanted.repository, revision or wanted.revision
    if at is None or not REVISION.fullmatch(at):
        raise SourceError(f"{name}: revision: found {at!r}, wanted a commit of 40 hex digits")
    with _in_a_line(wanted, at):
        folder = snapshot_download(
            name,
            repo_type=wanted.kind,
            revision=at,
            allow_patterns=list(wanted.patterns),
            ignore_patterns=list(TWICE),
            local_files_only=here_only,
        )
    if not any(any(Path(folder).glob(pattern)) for pattern in wanted.patterns):
        raise _absent(wanted, at, "no file of that name")
    return Path(folder)


def hub_commit(wanted: HubFiles, revision: str | None = None) -> tuple[str, int]:
    """The commit of a repository, and the bytes of the files wanted of it; nothing is downloaded.

    revision: as `hub_folder`; without one, what `main` is now. Errors as `hub_folder`: who may see
    that a gated repository is there may not have its files, so that is asked, too.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    name, at, hub = wanted.repository, revision or wanted.revision, HfApi()
    with _in_a_line(wanted, at):
        about = hub.repo_info(name, repo_type=wanted.kind, revision=at, files_metadata=True)
        hub.auth_check(name, repo_type=wanted.kind)
    files = {one.rfilename: one.size or 0 for one in getattr(about, "siblings", None) or []}
    kept = filter_repo_objects(
        files, allow_patterns=list(wanted.patterns), ignore_patterns=list(TWICE)
    )
    return str(about.sha), sum(files[file] for file in kept)


@contextmanager
def _in_a_line(wanted: HubFiles, at: str | None) -> Iterator[None]:
    """What the hub's client raises, as one line that says what to do."""
    from huggingface_hub import constants, errors

    _offline_where_it_is(urlsplit(constants.ENDPOINT))
    name = wanted.repository
    try:
        yield
    except errors.GatedRepoError as error:
        raise NoAccess(
            f"{name}: found a gated repository and no access to it, wanted its licence "
            f"({wanted.licence}) accepted on the hub and `hf auth login` with that account"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(
            f"{name}: revision: found none that is {at}, wanted one it has"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceAbsent(
            f"{name}: found no such {wanted.kind} on the hub, wanted its name as the hub has it, "
            "or `hf auth login` where it is private"
        ) from error
    except (OSError, errors.HTTPError) as error:
        # no network, and not in the cache; a refusal of the hub's is both of these, a connection
        # that breaks off the latter alone
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code == 401:
            raise NoAccess(
                f"{name}: found a token that the hub does not take, wanted `hf auth login` anew"
            ) from error
        raise _absent(wanted, at, type(error).__name__) from error


@cache
def _offline_where_it_is(hub: SplitResult) -> None:
    """Tell the hub's client when nothing answers there: it would try every file for half a minute.

    Asked once a process, in 5 seconds; behind a proxy nobody can say, and it tries.
    """
    from huggingface_hub import constants

    if getproxies():
        return
    port = hub.port or {"http": 80}.get(hub.scheme, 443)
    try:
        socket.create_connection((str(hub.hostname), port), timeout=5).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True


def _absent(wanted: HubFiles, at: str | None, why: str) -> SourceAbsent:
    return SourceAbsent(
        f"{wanted.repository}: found neither a copy nor a way to it ({why}), wanted "
        f"{', '.join(wanted.patterns)} of that {wanted.kind} at revision {at or 'main'} from the "
        "hub, or in its cache (HF_HOME) at a revision that the study names"
    )


def csv_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a CSV file in UTF-8; the header is row 1, as a spreadsheet shows it.

    GroundedError for a file that is missing or in another encoding, a header that lacks one of
    `columns` or has it twice, or a row with more or fewer fields than the header.
    """
    shown = paths.shown(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            header = next(reader, [])
            for column in columns:
                if header.count(column) != 1:
                    # cut short: without a header these are texts
                    found = ", ".join(" ".join(name[:20].split()) for name in header) or "none"
                    raise GroundedError(
                        f"{shown}: row 1: column {column!r}: found {found}, "
                        f"wanted one named {column}"
                    )
            for number, row in enumerate(reader, start=2):
                if row and len(row) != len(header):
                    raise GroundedError(
                        f"{shown}: row {number}: found {len(row)} fields, wanted {len(header)} "
                        "(a text that holds commas or line breaks stands in quotes)"
                    )
                if row:  # a blank line is none
                    yield number, dict(zip(header, row, strict=True))
    except UnicodeError as error:
        raise GroundedError(
            f"{shown}: found bytes that are not UTF-8 ({_place(file, error)}), "
            "wanted a file in UTF-8"
        ) from error
    except csv.Error as error:
        raise GroundedError(f"{shown}: found no readable CSV ({error}), wanted one") from error
    except OSError as error:
        raise GroundedError(f"{shown}: found no file to read ({error.strerror})") from error


def jsonl_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The objects of a JSON Lines file, .xz or plain, UTF-8; rows are lines, from 1.

    GroundedError for a file that is missing or broken, a line that is no JSON object, or an
    object without one of `columns`.
    """
    shown, number = paths.shown(file), 0
    opened: Any = lzma.open if file.suffix == ".xz" else open
    try:
        with opened(file, "rb") as handle:
            for number, line in enumerate(handle, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                for column in columns:
                    if not isinstance(row, dict) or column not in row:
                        raise GroundedError(
                            f"{shown}: line {number}: field {column!r}: found none, wanted one"
                        )
                yield number, row
    except (ValueError, lzma.LZMAError, EOFError, RecursionError) as error:
        # of a text, only the kind of error is told
        raise GroundedError(
            f"{shown}: line {number}: found {type(error).__name__}, wanted a JSON object in UTF-8"
        ) from error
    except OSError as error:
        raise GroundedError(f"{shown}: found no file to read ({error.strerror})") from error


def text(file: Path, row: int, column: str, value: Any) -> str:
    """The value, as it stands; GroundedError where it is no text, half of one, or only spaces."""
    halves = isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)
    if not isinstance(value, str) or not value.strip() or halves:
        found = "an empty text" if isinstance(value, str) else type(value).__name__
        found = "half a surrogate pair" if halves else found
        raise GroundedError(
            f"{paths.shown(file)}: row {row}: column {column!r}: found {found}, wanted a text"
        )
    return value


def _place(file: Path, error: UnicodeError) -> str:
    """Where a file stops being UTF-8, by row of text; the error itself counts within a block."""
    try:
        file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as exact:
        lines = exact.object[: exact.start].count(b"\n") + 1
        return f"line {lines}, byte {exact.object[exact.start]:#04x}"
    return type(error).__name__
