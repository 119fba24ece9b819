"""A model hub on loopback: what the hub's own client asks, as the hub answers it; files of the web.

As on the real one, everybody may see what files a gated repository has; only to get one takes
access.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

NAME = "([^/]+/[^/]+)"
API = re.compile(f"/api/(models|datasets)/{NAME}(?:/(revision|tree|auth-check)(?:/([^/]+))?)?")
RESOLVE = re.compile(f"/(datasets/)?{NAME}/resolve/([^/]+)/(.+)")
WEB = "/web/"  # before the host and path of a file that is no repository's
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
LARGE = (".safetensors", ".parquet", ".xz")  # what the hub keeps by sha256, beside git

MEMBER, STRANGER = "hf_standinMemberToken", "hf_standinStrangerToken"


@dataclass(frozen=True)
class Repository:
    """A repository of the hub. kind: "models" or "datasets", as its addresses say."""

    kind: str
    name: str
    folder: Path
    commit: str
    gated: bool


@dataclass(frozen=True)
class Stock:
    """What there is to serve; `web` holds files by host and path, as their addresses name them."""

    repositories: dict[str, Repository]
    web: Path

    def commit(self, name: str) -> str:
        return self.repositories[name].commit


@dataclass(frozen=True)
class Asked:
    """A request as it came, whether it held a token, and the status of the answer."""

    method: str
    path: str
    range: str
    token: bool
    status: int


@dataclass
class Hub:
    """Serves a stock. asked: every request so far, in order.

    Two tokens are known: MEMBER has access to every gated repository, STRANGER to none. cut: by
    the end of an address, how many of the next downloads stop half-way. after: by the end of an
    address, the status that follows the cuts; 0 hangs up without a word.
    """

    stock: Stock
    endpoint: str = ""
    asked: list[Asked] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def serving(self) -> Iterator["Hub"]:
        """The hub at work, in a thread, until the end of the block."""
        handler = type("Bound", (_Handler,), {"hub": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
            self.endpoint = f"http://127.0.0.1:{running.server_port}"
            threading.Thread(target=running.serve_forever, daemon=True).start()
            yield self
            running.shutdown()

    def downloads(self, ending: str) -> list[Asked]:
        """The requests for the content of files whose address ends so."""
        return [a for a in self.asked if a.method == "GET" and a.path.endswith(ending)]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    half = False  # whether the answer stops half-way
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, self.half = unquote(urlsplit(self.path).path), False
        status = next((n for end, n in self.hub.after.items() if path.endswith(end)), None)
        half = next((end for end in self.hub.cut if path.endswith(end)), None)
        if self.command == "GET" and half and self.hub.cut[half] > 0:
            self.hub.cut[half] -= 1
            self.half = True
        elif status is not None and not (half and self.hub.cut[half]):
            self._no(status, "") if status else self._hang_up()
            return
        if path.startswith(WEB):
            file = self.hub.stock.web / path.removeprefix(WEB)
            self._file(file, {}) if file.is_file() else self._no(404, "")
        elif found := API.fullmatch(path):
            self._api(*found.groups())
        elif found := RESOLVE.fullmatch(path):
            kind, name, revision, file_name = found.groups()
            if repository := self._repository("datasets" if kind else "models", name, revision):
                self._resolve(repository, file_name)
        else:
            self._no(404, "")

    do_HEAD = do_GET

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _repository(self, kind: str, name: str, revision: str | None) -> Repository | None:
        """The repository, or None after the refusal that the hub would send."""
        repository, token = self.hub.stock.repositories.get(name), self._token()
        if token not in ("", MEMBER, STRANGER):
            self._no(401, "", "Invalid credentials in Authorization header")
        elif repository is None or repository.kind != kind:
            self._no(404 if token else 401, "RepoNotFound")
        elif revision not in (None, "main", repository.commit):
            self._no(404, "RevisionNotFound")
        else:
            return repository
        return None

    def _api(self, kind: str, name: str, verb: str | None, revision: str | None) -> None:
        repository = self._repository(kind, name, revision)
        if repository is None or (verb == "auth-check" and self._shut(repository)):
            return
        files = sorted(p for p in repository.folder.rglob("*") if p.is_file())
        paths = {str(file.relative_to(repository.folder)): file for file in files}
        sizes = [{"rfilename": path, "size": f.stat().st_size} for path, f in paths.items()]
        answer: Any = [_entry(path, file) for path, file in paths.items()]
        if verb != "tree":
            answer = {
                "id": name, "sha": repository.commit, "private": False, "disabled": False,
                "gated": "manual" if repository.gated else False, "tags": [],
                "siblings": sizes,
            }  # fmt: skip
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _resolve(self, repository: Repository, name: str) -> None:
        file, commit = repository.folder / name, {"X-Repo-Commit": repository.commit}
        if self._shut(repository):
            return
        if not file.is_file():
            self._no(404, "EntryNotFound", more=commit)
        else:
            self._file(file, {**commit, "ETag": f'"{_digest(file)}"'})

    def _shut(self, repository: Repository) -> bool:
        """Whether the gate is shut to who asks; then it has been said."""
        shut = repository.gated and self._token() != MEMBER
        if shut:
            self._no(403 if self._token() else 401, "GatedRepo")
        return shut

    def _file(self, file: Path, more: Mapping[str, str]) -> None:
        body, status, headers = file.read_bytes(), 200, {"Accept-Ranges": "bytes", **more}
        if part := RANGE.fullmatch(self.headers.get("Range") or ""):
            start, end = int(part[1]), int(part[2] or len(body) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
            body, status = body[start : end + 1], 206
        self._answer(status, body, headers)

    def _no(
        self, status: int, code: str, message: str = "", more: Mapping[str, str] | None = None
    ) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": message or "no"}
        self._answer(status, b"{}", {**{k: v for k, v in told.items() if v}, **(more or {})})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._note(status)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if self.half else body)
        self.close_connection = self.close_connection or self.half

    def _hang_up(self) -> None:
        self._note(0)
        self.close_connection = True

    def _note(self, status: int) -> None:
        path, part = unquote(urlsplit(self.path).path), self.headers.get("Range") or ""
        self.hub.asked.append(Asked(self.command, path, part, bool(self._token()), status))


def _entry(path: str, file: Path) -> dict[str, Any]:
    size = file.stat().st_size
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": _git(file)}
    if file.suffix in LARGE:
        entry["lfs"] = {"oid": _digest(file), "size": size, "pointerSize": 130}
    return entry


@cache
def _git(file: Path) -> str:
    body = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.suffix in LARGE else _git(file)
