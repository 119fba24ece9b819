"""Files of the model hub, by its own client, from a stand-in of the hub on loopback."""

import http.server
import json
import threading
from typing import Any

import pytest

from grounded.public import files
from grounded.public.benchmarks import Prompt, load
from grounded.public.files import HubFiles, hub_files
from grounded.sources import SourceAbsent, SourceError

AT = "a" * 40
ROWS = b'{"question_id": 1, "category": "3", "turns": ["fold a kite"], "prompt_style": "base"}\n'
FILES = {"question.jsonl": ROWS, "other.txt": b"not asked for\n"}
WANTED = HubFiles("org/name", ("question.jsonl",), AT, "own agreement")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The paths asked for, and a switch: the status and error code of every answer."""
    import huggingface_hub.constants as constants

    asked: list[str] = []
    refusal: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            name = self.path.rpartition("/")[2]
            body, status, more = b"{}", 200, {}
            if refusal:
                status, more = refusal["status"], {"X-Error-Code": refusal["code"]}
            elif "/tree/" in self.path:
                entry = {"type": "file", "oid": "1" * 40}
                tree = [{"path": p, "size": len(c), **entry} for p, c in FILES.items()]
                body = json.dumps(tree).encode()
            else:
                body, more = FILES[name], {"X-Repo-Commit": AT, "ETag": f'"{name}"'}
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **more}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}"
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield asked, refusal
        running.shutdown()


def test_what_is_asked_for_is_downloaded_once(hub):
    asked, _ = hub
    (file,) = hub_files(WANTED)
    assert file.read_bytes() == ROWS
    assert not any("other.txt" in path for path in asked)
    before = len(asked)
    assert hub_files(WANTED) == [file]
    assert not any("/resolve/" in path for path in asked[before:])
    assert load("sorrybench_202406", AT) == (Prompt(0, "fold a kite", "3", True, "1"),)
    with pytest.raises(
        SourceAbsent, match=r"found neither .*\(no file of that name\), wanted gone"
    ):
        hub_files(HubFiles("org/name", ("gone.csv",), AT, "MIT"))


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (401, "GatedRepo", SourceAbsent, "org/name: found a gated repository and no access to it"),
        (403, "GatedRepo", SourceAbsent, r"\(own agreement\) accepted on the hub and `hf auth log"),
        (404, "RepoNotFound", SourceAbsent, "org/name: found no such dataset on the hub, wanted"),
        (404, "RevisionNotFound", SourceError, f"org/name: revision: found none that is {AT}"),
    ],
)
def test_a_hub_that_says_no_is_one_line(hub, status, code, kind, message):
    hub[1].update(status=status, code=code)
    with pytest.raises(kind, match=message) as caught:
        hub_files(WANTED)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SourceAbsent) == (kind is SourceAbsent)


def test_without_a_network_the_hub_is_tried_once_and_not_for_minutes(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    tried: list[Any] = []

    def nowhere(address, **_):
        tried.append(address)
        raise OSError("no route")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(files.socket, "create_connection", nowhere)
    monkeypatch.setattr(files, "getproxies", dict)
    monkeypatch.setattr("time.sleep", lambda s: pytest.fail("it waits to try again"))
    for ask in (files.hub_folder, files.hub_commit):
        with pytest.raises(SourceAbsent, match="org/name: found neither a copy nor a way to it"):
            ask(WANTED)
    assert tried == [("hub.invalid", 80)] and constants.HF_HUB_OFFLINE
