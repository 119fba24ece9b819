"""Replies of a server: a real one, on loopback, that answers as vLLM does from a tiny model."""

import asyncio
import json
import signal
import socket
import threading
import traceback
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tiny_models as tiny
import tiny_replies as local

from grounded import generate
from grounded.errors import GroundedError
from grounded.generate import Reply
from grounded.public.asking import Asking
from grounded.public.replies import Engine
from grounded.public.served import Server

HOW = local.HOW
KEY = "sk-never-in-a-log"


class Tiny(ThreadingHTTPServer):
    """Serves tiny models under names; `before` of a test sees each request and may answer it."""

    daemon_threads = True

    def __init__(self, models):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models = models
        self.lock = threading.Lock()
        self.asked, self.keys, self.headers = [], set(), []
        self.listed = None  # what it answers in place of its list of models
        self.over = None  # an event: until it is set, answers drip
        self.before = lambda request: None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Tiny

    def log_message(self, *args):
        pass

    def do_GET(self):
        assert self.path == "/v1/models"
        self.server.headers.append(dict(self.headers))
        listed = [{"id": name, "object": "model"} for name in self.server.models]
        with suppress(OSError):  # the client did not wait
            said = {"object": "list", "data": listed}
            self.say(200, said if self.server.listed is None else self.server.listed)

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(request)
            self.server.keys.add(self.headers["Authorization"])
            self.server.headers.append(dict(self.headers))
        given = self.server.before(request)
        if given is None and self.path != "/v1/chat/completions":
            given = 404, {"error": {"message": "no such path"}}
        if given is None and request["model"] not in self.server.models:
            given = 404, {"error": {"message": f"The model {request['model']} does not exist."}}
        try:
            self.say(*(given or (200, self.completion(request))))
        except OSError:
            pass  # the client did not wait

    def completion(self, request):
        (turn,) = request["messages"]
        assert turn["role"] == "user" and request["temperature"] == 0
        options = request.get("chat_template_kwargs", {})
        with self.server.lock:  # one model, one thread at a time
            words = tiny.tokenizer(tiny.CHAT + (" w7" if options.get("enable_thinking") else ""))
            model = self.server.models[request["model"]]
            (reply,) = generate.reply(model, words, [turn["content"]], request["max_tokens"], 1)
        return completion(reply.text, reply.finish, reply.tokens + (reply.finish == "stop"))

    def say(self, status, body):
        said = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.send_header("retry-after-ms", "1")  # the client waits half a second otherwise
        self.end_headers()
        while self.server.over and not self.server.over.wait(0.02):
            self.wfile.write(b" ")
        self.wfile.write(said)


def completion(text, finish, tokens):
    """A chat completion in OpenAI's format."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "1", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
    }  # fmt: skip


@contextmanager
def serving(**models):
    with Tiny(models or {"base": local.wordy()}) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "GROUNDED_API_KEY", "GROUNDED_SERVER"):
        monkeypatch.delenv(name, raising=False)


def failure(server, asked, model="base", **how):
    """The line of the error that asking ends with."""
    with pytest.raises(GroundedError) as e:
        Server(server.url, **how).reply(model, asked, HOW)
    line = str(e.value)
    assert "".join(traceback.format_exception(e.value)).count("Traceback") == 1  # no other's words
    assert "\n" not in line and line.startswith(f"{server.url}: {model}: prompt ")
    return line


def test_replies_are_those_of_the_local_engine(tmp_path):
    engine = Engine(local.wordy(), tiny.tokenizer())
    folder = local.adapter(tmp_path / "a")
    tuned = generate.attach(local.wordy(), folder)
    asked = local.prompts()
    with serving(base=local.wordy(), tuned=tuned) as server:
        there = Server(server.url, concurrency=4)
        assert there.models() == ["base", "tuned"]
        plain, adapted = (there.reply(name, asked, HOW) for name in ("base", "tuned"))
        assert there.reply("base", [], HOW) == []
    assert plain == engine.reply(asked, HOW)
    engine.wear(folder)
    assert adapted == engine.reply(asked, HOW) != plain
    assert {reply.finish for reply in plain} == {"stop", "length"}
    assert Reply("", "stop", 0) in adapted  # one that ended at once is no empty answer
    assert all(request["skip_special_tokens"] is False for request in server.asked)
    assert server.keys == {"Bearer EMPTY"}


def test_template_options_reach_the_server():
    asked = local.prompts(5)
    with serving() as server:
        found = Server(server.url).reply("base", asked, Asking(12, {"enable_thinking": True}))
    words = tiny.tokenizer(tiny.CHAT + " w7")
    assert found == generate.reply(local.wordy(), words, asked, 12, 7)
    assert found != local.reference(local.wordy(), asked)


def test_prompts_are_under_way_together_but_no_more_than_allowed():
    together = threading.Barrier(4)  # opens when four requests wait at it, and breaks if they don't
    lock, under_way, most = threading.Lock(), 0, 0

    def before(request):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(timeout=30)
        with lock:
            under_way -= 1

    with serving() as server:
        server.before = before
        found = Server(server.url, concurrency=4).reply("base", local.prompts(8), HOW)
    assert most == 4
    assert found == local.reference(local.wordy(), local.prompts(8))


def test_it_works_inside_a_notebook():
    async def cell():
        return Server(server.url).reply("base", local.prompts(3), HOW)

    with serving() as server:
        assert asyncio.run(cell()) == local.reference(local.wordy(), local.prompts(3))


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also in a process that a shell started in the background."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


def test_who_interrupts_leaves_nothing_behind(caplog, interruptible):
    here = threading.get_ident()

    def before(request):
        if len(server.asked) == 2:
            signal.pthread_kill(here, signal.SIGINT)  # as Ctrl-C does

    with serving() as server:
        server.before = before
        with pytest.raises(KeyboardInterrupt):
            Server(server.url, concurrency=1).reply("base", local.prompts(30), HOW)
    assert len(server.asked) < 30
    assert not caplog.records  # asyncio tells of tasks that were left alone


def test_an_error_of_the_server_that_passes_is_tried_again():
    with serving() as server:
        server.before = lambda request: (500, {}) if len(server.asked) == 1 else None
        assert Server(server.url).reply("base", ["w1"], HOW) == local.reference(
            local.wordy(), ["w1"]
        )
    assert len(server.asked) == 2


def test_an_error_that_stays_is_one_line():
    secret = "w3 w4 w5"

    def before(request):
        if request["messages"][0]["content"] == secret:
            return 500, {"error": {"message": f"could not do {secret}"}}

    asked = ["w1", "w2", secret, "w6", "w7"]
    with serving() as server:
        server.before = before
        line = failure(server, asked, concurrency=1, retries=2)
    assert line.endswith("prompt 2: found status 500 in 3 tries, wanted an answer")
    assert len(server.asked) == 2 + 3  # the others were not asked any more
    assert secret not in line


def test_when_one_fails_nothing_new_is_asked():
    failed = threading.Event()

    def before(request):
        if request["messages"][0]["content"] == "w1":
            failed.set()
            return 400, {}
        assert failed.wait(timeout=30)

    with serving() as server:
        server.before = before
        line = failure(server, ["w1", "w2", "w3", "w4"], concurrency=2)
    assert "prompt 0: found a refusal (status 400)" in line
    assert len(server.asked) == 2


def test_a_server_that_does_not_answer_is_one_line():
    over = threading.Event()
    with serving() as server:
        server.before = lambda request: (500, {}) if over.wait(timeout=30) else None
        line = failure(server, ["w1"], timeout=0.2, retries=0)
        over.set()
    assert line.endswith("prompt 0: found no answer within 0.2 s in 1 tries, wanted one")


def test_a_server_that_is_down_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # a port on which nobody listens
        there = Server(f"http://user:{KEY}@127.0.0.1:{free.getsockname()[1]}/v1", retries=0)
        for ask in (there.models, lambda: there.reply("base", ["w1"], HOW)):
            with pytest.raises(GroundedError, match="found no connection in 1 tries") as e:
                ask()
            told = "".join(traceback.format_exception(e.value))
            assert KEY not in told and told.count("Traceback") == 1
            assert str(e.value).startswith(there.shown)


def test_a_name_that_is_not_served_is_one_line():
    with serving() as server:
        line = failure(server, ["w1"], model="other")
    assert "other: prompt 0: found no such model or path (status 404)" in line
    assert len(server.asked) == 1  # trying again would not help


UNFIT = "found an answer that does not fit (%s"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (completion("", "stop", 5), "found an empty answer of 5 tokens, wanted a text"),
        (completion(None, "length", 12), "found an empty answer of 12 tokens, wanted a text"),
        (
            completion("", "stop", 0),
            UNFIT % "usage.completion_tokens: Input should be greater than",
        ),
        (completion("w1", "stop", -5), UNFIT % "usage.completion_tokens: Input should be greater"),
        (
            completion("w1", "stop", True),
            UNFIT % "usage.completion_tokens: Input should be a valid",
        ),
        (
            completion(7, "stop", 2),
            UNFIT % "choices.0.message.content: Input should be a valid str",
        ),
        (completion("w1", 7, 2), UNFIT % "choices.0.finish_reason: Input should be a valid string"),
        ({**completion("w1", "stop", 2), "choices": []}, UNFIT % "choices: List should have at"),
        ({**completion("w1", "stop", 2), "choices": [1]}, UNFIT % "choices.0: Input should be an"),
        ({**completion("w1", "stop", 2), "usage": None}, "found an answer without usage"),
        ({**completion("w1", "stop", 2), "usage": {}}, UNFIT % "usage.completion_tokens: Field re"),
        (b"<html>", UNFIT % "the answer: Invalid JSON"),
        (b'{"choices": "\\ud800"}', UNFIT % "the answer: Invalid JSON"),
        (b"\xff", UNFIT % "the answer: "),
        (b"", UNFIT % "the answer: Invalid JSON"),
        (b"[" * 10_000, UNFIT % "the answer: Invalid JSON"),
        (b'"w1"', UNFIT % "the answer: Input should be an object"),
    ],
)
def test_an_answer_without_a_reply_is_one_line(answer, found):
    with serving() as server:
        server.before = lambda request: (200, answer)
        assert f"prompt 0: {found}" in failure(server, ["w1"])


@pytest.mark.parametrize("reason", ["content_filter", "abort", None])
def test_a_reply_that_ended_for_no_known_reason_counts_as_cut_off(reason):
    with serving() as server:
        server.before = lambda request: (200, completion("w1 w2", reason, 2))
        assert Server(server.url).reply("base", ["w1"], HOW) == [Reply("w1 w2", "length", 2)]


@pytest.mark.parametrize("listed", [b"<html>", b"[]", b"7", {"data": 1}, {"data": [{"id": 1}]}, {}])
def test_a_list_of_models_that_is_none_is_one_line(listed):
    with serving() as server:
        server.listed = listed
        with pytest.raises(GroundedError) as e:
            Server(server.url).models()
    assert str(e.value).startswith(f"{server.url}: {UNFIT % ''}") and "\n" not in str(e.value)


def test_a_server_that_drips_its_answer_is_one_line():
    with serving() as server:
        server.over = threading.Event()
        there = Server(server.url, timeout=0.2, retries=1)
        told = "found no answer within 0.2 s in 2 tries, wanted one"
        with pytest.raises(GroundedError, match=told):
            there.models()
        with pytest.raises(GroundedError, match=f"prompt 0: {told}"):
            there.reply("base", ["w1"], HOW)
        server.over.set()


@pytest.mark.parametrize("status", [401, 403])
def test_the_key_goes_to_the_users_own_server_and_into_no_line_or_log(status, monkeypatch, caplog):
    monkeypatch.setenv("GROUNDED_API_KEY", KEY)
    with serving() as server, caplog.at_level("DEBUG"):
        monkeypatch.setenv("GROUNDED_SERVER", server.url.removesuffix("/v1"))
        Server(server.url).reply("base", ["w1"], HOW)
        server.before = lambda request: (status, {"error": {"message": f"bad key {KEY}"}})
        line = failure(server, ["w1"])
    assert server.keys == {f"Bearer {KEY}"}
    assert f"found no access (status {status}), wanted its address as GROUNDED_SERVER" in line
    assert caplog.text and KEY not in caplog.text + line


def test_no_key_and_no_name_go_to_a_server_that_a_study_brings(monkeypatch):
    for name in ("OPENAI_API_KEY", "GROUNDED_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    with serving() as server:
        port = server.server_port
        others = (
            "",
            "http://localhost:1/v1",
            f"https://127.0.0.1:{port}",
            f"http://127.0.0.1:{port ^ 1}",
        )
        for mine in others:
            monkeypatch.setenv("GROUNDED_SERVER", mine)
            there = Server(server.url)
            there.models()
            there.reply("base", ["w1"], HOW)
        monkeypatch.setenv("GROUNDED_SERVER", "http://127.0.0.1:many")
        with pytest.raises(GroundedError, match="GROUNDED_SERVER: found Port could not be cast"):
            there.reply("base", ["w1"], HOW)
    assert server.keys == {"Bearer EMPTY"} and KEY not in str(server.headers)


def test_a_bar_shows_what_is_left_to_who_wants_one(capsys):
    with serving() as server:
        there = Server(server.url)
        there.reply("base", ["w1", "w2"], HOW)
        assert capsys.readouterr().err == ""
        there.reply("base", ["w1", "w2"], HOW, label="replies")
    Engine(local.wordy(), tiny.tokenizer()).reply(["w1", "w2", "w3"], HOW, label="replies")
    told = capsys.readouterr().err
    assert "replies: 100%" in told and "2/2" in told and "3/3" in told


def test_a_bad_address_is_one_line():
    for url in ("localhost:8000", "http:///v1", "http://localhost:many/v1"):
        with pytest.raises(GroundedError, match=f"url: found '{url}', wanted http"):
            Server(url)
