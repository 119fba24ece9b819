"""Public data: the mirror, the cache, the download, and the line that says what is wrong."""

import hashlib
import http.server
import socket
import threading
from dataclasses import replace

import pytest
import requests

from grounded import sources
from grounded.sources import SOURCES, Source, SourceAbsent, SourceError, fetch

CONTENT = b'{"a": 1}\n'
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GROUNDED_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "home"


@pytest.fixture
def server():
    """A web server on loopback, and the paths it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = self.path == "/moved" or self.path.startswith("/file")
            self.send_response(302 if self.path == "/moved" else 200 if found else 404)
            if self.path == "/moved":  # as GitHub's raw addresses do
                self.send_header("Location", "/file.json")
            self.send_header("Content-Length", str(len(CONTENT) if self.path != "/moved" else 0))
            self.end_headers()
            if self.path != "/moved":
                self.wfile.write(CONTENT)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


@pytest.fixture
def example(monkeypatch):
    """Registers a source of one small file, changed as asked."""

    def register(**changes):
        source = replace(
            Source("example", "http://127.0.0.1:9/file.json", SHA, "MIT", "set/file.json"),
            **changes,
        )
        monkeypatch.setitem(sources.SOURCES, "example", source)
        return source

    return register


def unreachable():
    """An address on loopback where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/file.json"


def test_the_table_pins_every_file():
    for name, source in SOURCES.items():
        assert name == source.name
        assert len(source.sha256) == 64 and int(source.sha256, 16)
        parts = source.url.split("/")
        assert parts[5] == "raw" and len(parts[6]) == 40 and int(parts[6], 16), source.url
        assert source.licence
    assert len({source.mirror for source in SOURCES.values()}) == len(SOURCES)


def test_download_once_then_cache(home, server, example):
    address, asked = server
    example(url=f"{address}/moved")
    path = fetch("example")
    assert path == home / ".cache/sources/set/file.json"
    assert path.read_bytes() == CONTENT
    assert asked == ["/moved", "/file.json"]
    assert fetch("example") == path
    assert len(asked) == 2


def test_progress_names_the_file(home, server, example, capsys):
    example(url=f"{server[0]}/file.json")
    fetch("example")
    shown = capsys.readouterr().err
    assert "fetching example" in shown
    assert str(home) not in shown  # no path of this machine reaches a notebook


def test_changed_upstream_shows_both_hashes_and_keeps_nothing(home, server, example):
    example(url=f"{server[0]}/file.json", sha256="0" * 64)
    with pytest.raises(SourceError) as caught:
        fetch("example")
    line = str(caught.value)
    assert not isinstance(caught.value, SourceAbsent)
    assert SHA in line and "0" * 64 in line and f"{server[0]}/file.json" in line
    assert "\n" not in line
    assert not [p for p in home.rglob("*") if p.is_file()]


def test_damaged_cache_is_fetched_again(home, server, example):
    example(url=f"{server[0]}/file.json")
    path = fetch("example")
    path.write_bytes(b"half")
    assert fetch("example").read_bytes() == CONTENT
    assert len(server[1]) == 2


@pytest.mark.parametrize("missing", ["host", "file"])
def test_offline_says_which_file_and_where_it_goes(home, server, example, missing):
    source = example(url=unreachable() if missing == "host" else f"{server[0]}/gone.json")
    with pytest.raises(SourceAbsent) as caught:
        fetch("example")
    line = str(caught.value)
    for part in (source.url, SHA, ".cache/sources/set/file.json", "set/file.json in", "MIRROR"):
        assert part in line
    assert "\n" not in line
    assert isinstance(caught.value.__cause__, requests.RequestException)


def test_mirror_comes_first(home, server, example, tmp_path, monkeypatch):
    example(url=f"{server[0]}/file.json")
    monkeypatch.setenv("GROUNDED_MIRROR", str(tmp_path))
    file = tmp_path / "set/file.json"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    assert fetch("example") == file
    assert not server[1]
    file.unlink()
    assert fetch("example").is_relative_to(home)  # a mirror may hold less than the table names


def test_mirror_is_verified(home, example, tmp_path, monkeypatch):
    example()
    monkeypatch.setenv("GROUNDED_MIRROR", str(tmp_path))
    file = tmp_path / "set/file.json"
    file.parent.mkdir()
    file.write_bytes(b"else")
    with pytest.raises(SourceError) as caught:
        fetch("example")
    found = hashlib.sha256(b"else").hexdigest()
    assert str(caught.value).startswith(f"example: {file}: sha256: found {found}, wanted {SHA}")


def test_mirror_that_is_no_folder(home, example, tmp_path, monkeypatch):
    example()
    monkeypatch.setenv("GROUNDED_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="GROUNDED_MIRROR: found .*nowhere.* wanted an existing"):
        fetch("example")


def test_no_room_to_write_is_one_line(home, server, example):
    example(url=f"{server[0]}/file.json")
    cache = home / ".cache"
    cache.mkdir(parents=True)
    (cache / "sources").write_text("a file where the folder should be")
    with pytest.raises(SourceError, match="example: .cache/sources/set/file.json: found no way"):
        fetch("example")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(SourceError, match="found 'harmbensh', wanted one of harmbench_judge_val"):
        fetch("harmbensh")
