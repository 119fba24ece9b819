"""Replies of a server: any that speaks OpenAI's API and serves LoRA adapters under model names.

Such as `vllm serve BASE --enable-lora --lora-modules NAME=FOLDER`. OpenAI's own client asks, waits
and tries again. Prompts go as they are: the server writes the chat template around them.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, Field, ValidationError
from tqdm import tqdm

from grounded.errors import GroundedError
from grounded.generate import Reply
from grounded.public.asking import Asking
from grounded.study.models import THOUGHTS

# Fields of vLLM beside OpenAI's: a reply's special tokens stay in its text, and no penalty that
# the model's author set changes what the model's first choice is.
FIELDS: Mapping[str, object] = {"skip_special_tokens": False, "repetition_penalty": 1.0}
T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True)
class Server:
    """Where replies come from, and how it is asked.

    url: up to and with /v1. concurrency: prompts under way at a time. timeout: seconds that one
    try may take, and times the tries all of them, however slowly an answer drips in. retries:
    tries after the first, for errors that may pass (the client's choice: no connection, timeouts,
    status 408, 409, 429 and from 500).
    The key is the environment's GROUNDED_API_KEY, and goes to the server that GROUNDED_SERVER
    names alone: a study, which names servers too, may come from anybody. Others are sent EMPTY.
    """

    url: str
    concurrency: int = 64
    timeout: float = 600.0
    retries: int = 4

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            whole = False
        if not whole:
            raise GroundedError(f"server: url: found {self.shown!r}, wanted http(s)://host:port/v1")

    @property
    def shown(self) -> str:
        """The URL as a message names it: without a user or a password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def models(self) -> list[str]:
        """The names of the models and adapters that it serves, sorted.

        GroundedError for a server that is down, refuses or times out.
        """

        async def ask() -> bytes:
            async with openai.AsyncOpenAI(**self._how()) as client, self._in_time():
                return (await client.models.with_raw_response.list()).content

        try:
            listed = _Models.model_validate_json(_apart(ask()))
        except (openai.OpenAIError, ValueError, TimeoutError) as error:
            raise GroundedError(f"{self.shown}: {_line(error, self)}") from None
        return sorted(model.id for model in listed.data)

    def reply(
        self, model: str, prompts: Sequence[str], how: Asking, label: str | None = None
    ) -> list[Reply]:
        """The reply to each prompt, in the given order.

        model: a name that it serves, of the base model or of an adapter. label: of a progress bar
        on stderr. After a failure nothing new is asked; what is under way is waited for, and then
        comes the GroundedError of the first failure: a server that is down, times out or refuses,
        a name that it does not serve, or an answer without a reply in it. It names the URL, the
        model and the place of the prompt, and shows nothing of a text.
        """

        async def ask(client: openai.AsyncOpenAI, prompt: str) -> Reply:
            return await self._ask(client, model, prompt, how)

        bar = tqdm(total=len(prompts), desc=label, disable=label is None, file=sys.stderr)
        return self.each(model, prompts, ask, bar)

    def each(
        self,
        model: str,
        items: Sequence[T],
        ask: Callable[[openai.AsyncOpenAI, T], Awaitable[A]],
        bar: "tqdm[Any]",
    ) -> list[A]:
        """The answer to each item, in the given order; all else as `reply`.

        ask: one request of the client; a ValueError of its own tells what an answer lacks. bar:
        is told of each answer.
        """
        with bar:
            return _apart(self._each(model, items, ask, bar))

    def _how(self) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "api_key": _key(self.url),
            "timeout": self.timeout,
            "max_retries": self.retries,
            # the client would tell every server whose customer the user is
            "default_headers": dict.fromkeys(
                ("OpenAI-Organization", "OpenAI-Project"), openai.Omit()
            ),
        }

    def _in_time(self) -> asyncio.Timeout:
        return asyncio.timeout(self.timeout * (self.retries + 1))

    async def _each(
        self,
        model: str,
        items: Sequence[T],
        ask: Callable[[openai.AsyncOpenAI, T], Awaitable[A]],
        bar: "tqdm[Any]",
    ) -> list[A]:
        gate = asyncio.Semaphore(self.concurrency)
        said: dict[int, A] = {}
        failed: list[GroundedError] = []

        async def one(place: int, item: T) -> None:
            async with gate:
                if failed:
                    return
                try:
                    async with self._in_time():
                        said[place] = await ask(client, item)
                    bar.update()
                except (openai.OpenAIError, ValueError, TimeoutError) as error:
                    line = f"{self.shown}: {model}: prompt {place}: {_line(error, self)}"
                    failed.append(GroundedError(line))

        async with openai.AsyncOpenAI(**self._how()) as client:
            await asyncio.gather(*(one(*pair) for pair in enumerate(items)))
        if failed:
            raise failed[0]
        return [said[place] for place in range(len(items))]

    async def _ask(self, client: openai.AsyncOpenAI, model: str, prompt: str, how: Asking) -> Reply:
        template = {"chat_template_kwargs": dict(how.options)} if how.options else {}
        answer = await completion(
            client,
            model=model,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=how.max_new_tokens,
            temperature=how.temperature,
            seed=how.seed,
            extra_body={**FIELDS, **template},
        )
        return _reply(answer)


class Token(BaseModel):
    """A token that an answer might have begun with, and the logarithm of its probability."""

    token: str
    logprob: Annotated[float, Field(le=0)]


class _Place(BaseModel):
    top_logprobs: list[Token] = []


class _Logprobs(BaseModel):
    content: list[_Place] | None = None


class _Message(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None  # where a server takes the thoughts out of the text
    reasoning: str | None = None  # the same, of newer servers


class Choice(BaseModel):
    """What a server says to one request."""

    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    completion_tokens: Annotated[int, Field(strict=True, gt=0, lt=2**31)]


class Completion(BaseModel):
    """A chat completion: of OpenAI's schema what is read here, and nothing else is trusted."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


async def completion(client: openai.AsyncOpenAI, **request: Any) -> Completion:
    """What the server answers to one request; pydantic's ValidationError for anything else."""
    raw = await client.chat.completions.with_raw_response.create(**request)
    return Completion.model_validate_json(raw.content)


class NoAnswer(ValueError):
    """An answer without a reply in it."""


def _reply(answer: Completion) -> Reply:
    """The reply in a chat completion. One that ended for no known reason counts as cut off.

    The tokens of one that stopped count its end token, which is no part of a reply. A model that
    ends at once gives an empty reply of that one token: it is a reply. An empty text of more
    tokens is not: the server lost it. Thoughts that the server tells apart stand before the text
    again, in the usual tags; one that was cut off has no end.
    """
    message, stopped = answer.choices[0].message, answer.choices[0].finish_reason == "stop"
    text = message.content
    if thought := message.reasoning_content or message.reasoning:
        opening, closing = THOUGHTS
        text = f"{opening}{thought}{closing if text or stopped else ''}{text or ''}"
    if answer.usage is None:
        raise NoAnswer("found an answer without usage, wanted its completion_tokens")
    tokens = answer.usage.completion_tokens - stopped
    if not text and not (stopped and tokens == 0):
        raise NoAnswer(f"found an empty answer of {tokens + stopped} tokens, wanted a text")
    return Reply(text or "", "stop" if stopped else "length", tokens)


def _key(url: str) -> str:
    mine = os.environ.get("GROUNDED_SERVER", "")
    try:
        same = _origin(mine) == _origin(url)
    except ValueError as error:
        raise GroundedError(f"GROUNDED_SERVER: found {error}, wanted http(s)://host:port") from None
    return (same and os.environ.get("GROUNDED_API_KEY")) or "EMPTY"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _line(error: Exception, server: Server) -> str:
    """What went wrong, in place of the client's own words, which may repeat a prompt or a key."""
    tries = f"{server.retries + 1} tries"
    if isinstance(error, NoAnswer):
        return str(error)
    if isinstance(error, ValidationError):  # without what was found, which may be a text
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the answer"
        return f"found an answer that does not fit ({where}: {fault['msg']}), wanted OpenAI's form"
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return f"found no answer within {server.timeout:g} s in {tries}, wanted one"
    if isinstance(error, openai.APIConnectionError):
        return f"found no connection in {tries}, wanted a server that listens there"
    if isinstance(error, openai.NotFoundError):
        return "found no such model or path (status 404), wanted a name that the server lists"
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return (
            f"found no access (status {error.status_code}), wanted its address as GROUNDED_SERVER "
            "in the environment, and its key as GROUNDED_API_KEY"
        )
    if isinstance(error, openai.APIStatusError) and error.status_code < 500:
        return (
            f"found a refusal (status {error.status_code}), wanted an answer: the server's log "
            "says whether the prompt is longer than its context or a field is unknown to it"
        )
    if isinstance(error, openai.APIStatusError):
        return f"found status {error.status_code} in {tries}, wanted an answer"
    return f"found an answer that cannot be read ({type(error).__name__}), wanted JSON"


def _apart(work: Coroutine[Any, Any, A]) -> A:
    """What a coroutine returns, from a thread of its own; where the user interrupts, it ends.

    The thread of a notebook already runs an event loop, which cannot run another.
    """
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[A]]] = []

    async def run() -> A:
        begun.append((asyncio.get_running_loop(), asyncio.ensure_future(work)))
        return await begun[0][1]

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, run())
        try:
            return running.result()
        except KeyboardInterrupt:  # which reaches this thread alone
            for loop, asked in begun:
                with suppress(RuntimeError):  # the loop has just closed
                    loop.call_soon_threadsafe(asked.cancel)
            raise
