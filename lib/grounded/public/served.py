"""Replies of a server: any that speaks OpenAI's API and serves LoRA adapters under model names.

Such as `vllm serve BASE --enable-lora --lora-modules NAME=FOLDER`. OpenAI's own client asks, waits
and tries again. Prompts go as they are: the server writes the chat template around them.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai
from tqdm import tqdm

from grounded.errors import GroundedError
from grounded.generate import Reply
from grounded.public.asking import Asking, in_order

# Fields of vLLM beside OpenAI's: a reply's special tokens stay in its text, and no penalty that
# the model's author set changes what the model's first choice is.
FIELDS: Mapping[str, object] = {"skip_special_tokens": False, "repetition_penalty": 1.0}
Pair = tuple[int, Reply]  # the place of a prompt, and its reply
T = TypeVar("T")
A = TypeVar("A")
P = TypeVar("P")


@dataclass(frozen=True)
class Server:
    """Where replies come from, and how it is asked.

    url: up to and with /v1. concurrency: prompts under way at a time. timeout: seconds that one
    try may take. retries: tries after the first, for errors that may pass (the client's choice:
    no connection, timeouts, status 408, 409, 429 and from 500). fields: added to every request.
    The key is the environment's OPENAI_API_KEY, or EMPTY for a server that wants none.
    """

    url: str
    concurrency: int = 64
    timeout: float = 600.0
    retries: int = 4
    fields: Mapping[str, object] = field(default_factory=lambda: dict(FIELDS))

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            whole = False
        if not whole:
            raise GroundedError(f"server: url: found {self.shown!r}, wanted http(s)://host:port/v1")
        if self.concurrency < 1:
            raise GroundedError(f"server: concurrency: found {self.concurrency}, wanted 1 or more")

    @property
    def shown(self) -> str:
        """The URL as a message names it: without a user or a password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def models(self) -> list[str]:
        """The names of the models and adapters that it serves, sorted.

        GroundedError for a server that is down, refuses or times out.
        """
        try:
            with openai.OpenAI(**self._how()) as client:
                return sorted(model.id for model in client.models.list())
        except (openai.OpenAIError, ValueError) as error:
            raise GroundedError(f"{self.shown}: {_line(error, self)}") from None

    def reply(
        self, model: str, prompts: Sequence[str], how: Asking, label: str | None = None
    ) -> list[Reply]:
        """The reply to each prompt, in the given order; all else as `replies`."""
        return in_order(self.replies(model, prompts, how, label))

    def replies(
        self, model: str, prompts: Sequence[str], how: Asking, label: str | None = None
    ) -> Generator[Pair, None, None]:
        """(place of the prompt, its reply), as they come.

        model: a name that it serves, of the base model or of an adapter. label: of a progress bar
        on stderr. After a failure nothing new is asked; what is under way is waited for and given
        out, and then comes the GroundedError of the first failure: a server that is down, times
        out or refuses, a name that it does not serve, or an answer without a reply in it. It
        names the URL, the model and the place of the prompt, and shows nothing of a text.
        """

        async def ask(client: openai.AsyncOpenAI, prompt: str) -> Reply:
            return await self._ask(client, model, prompt, how)

        yield from self.each(model, prompts, ask, label)

    def each(
        self,
        model: str,
        items: Sequence[T],
        ask: Callable[[openai.AsyncOpenAI, T], Awaitable[A]],
        label: str | None = None,
    ) -> Generator[tuple[int, A], None, None]:
        """(place of the item, its answer), as they come; all else as `replies`.

        ask: one request of the client; a ValueError of its own tells what an answer lacks.
        """
        bar = tqdm(total=len(items), desc=label, disable=label is None, file=sys.stderr)
        with bar, closing(_stepped(self._each(model, items, ask))) as pairs:
            for found in pairs:
                yield found
                bar.update()

    def _how(self) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "api_key": os.environ.get("OPENAI_API_KEY") or "EMPTY",
            "timeout": self.timeout,
            "max_retries": self.retries,
        }

    async def _each(
        self, model: str, items: Sequence[T], ask: Callable[[openai.AsyncOpenAI, T], Awaitable[A]]
    ) -> AsyncGenerator[tuple[int, A], None]:
        gate = asyncio.Semaphore(self.concurrency)
        failed: list[GroundedError] = []

        async def one(place: int, item: T) -> tuple[int, A] | None:
            async with gate:
                if failed:
                    return None
                try:
                    return place, await ask(client, item)
                except (openai.OpenAIError, ValueError) as error:
                    line = f"{self.shown}: {model}: prompt {place}: {_line(error, self)}"
                    failed.append(GroundedError(line))
                    return None

        async with openai.AsyncOpenAI(**self._how()) as client:
            tasks = [asyncio.create_task(one(*pair)) for pair in enumerate(items)]
            try:
                for done in asyncio.as_completed(tasks):
                    if (found := await done) is not None:
                        yield found
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if failed:
            raise failed[0]

    async def _ask(self, client: openai.AsyncOpenAI, model: str, prompt: str, how: Asking) -> Reply:
        template = {"chat_template_kwargs": dict(how.options)} if how.options else {}
        answer = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=how.max_new_tokens,
            temperature=how.temperature,
            seed=how.seed,
            extra_body={**self.fields, **template},
        )
        return _reply(answer)


class NoAnswer(ValueError):
    """An answer without a reply in it."""


def _reply(answer: Any) -> Reply:
    """The reply in a chat completion.

    The tokens of one that stopped count its end token, which is no part of a reply. A model that
    ends at once gives an empty reply of that one token: it is a reply. An empty text of more
    tokens or none is not: the server lost it, or put it elsewhere (as reasoning, say).
    """
    choices = getattr(answer, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise NoAnswer("found an answer without choices, wanted one of a chat completion")
    text, finish, usage = choices[0].message.content, choices[0].finish_reason, answer.usage
    if finish not in ("stop", "length"):
        raise NoAnswer(f"finish reason: found {finish!r}, wanted stop or length")
    written = getattr(usage, "completion_tokens", None)
    if not isinstance(written, int):
        raise NoAnswer("found an answer without usage, wanted its completion_tokens")
    tokens = written - (finish == "stop")
    if not text and (finish, tokens) != ("stop", 0):
        raise NoAnswer(f"found an empty answer of {written} tokens, wanted a text")
    return Reply(text or "", finish, tokens)


def _line(error: Exception, server: Server) -> str:
    """What went wrong, in place of the client's own words, which may repeat a prompt or a key."""
    tries = f"{server.retries + 1} tries"
    if isinstance(error, NoAnswer):
        return str(error)
    if isinstance(error, openai.APITimeoutError):
        return f"found no answer within {server.timeout:g} s in {tries}, wanted one"
    if isinstance(error, openai.APIConnectionError):
        return f"found no connection in {tries}, wanted a server that listens there"
    if isinstance(error, openai.NotFoundError):
        return "found no such model or path (status 404), wanted a name that the server lists"
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return f"found no access (status {error.status_code}), wanted its key as OPENAI_API_KEY"
    if isinstance(error, openai.APIStatusError) and error.status_code < 500:
        return (
            f"found a refusal (status {error.status_code}), wanted an answer: the server's log "
            "says whether the prompt is longer than its context or a field is unknown to it"
        )
    if isinstance(error, openai.APIStatusError):
        return f"found status {error.status_code} in {tries}, wanted an answer"
    return f"found an answer that cannot be read ({type(error).__name__}), wanted JSON"


def _stepped(found: AsyncGenerator[P, None]) -> Generator[P, None, None]:
    """What an asynchronous generator yields, from a thread of its own.

    The thread of a notebook already runs an event loop, which cannot run another.
    """

    async def step() -> P | None:
        return await anext(found, None)

    with ThreadPoolExecutor(1) as thread:
        runner = asyncio.Runner()
        try:
            while (pair := thread.submit(runner.run, step()).result()) is not None:
                yield pair
        finally:  # also where the caller wants no more of them
            thread.submit(runner.run, found.aclose()).result()
            thread.submit(runner.close).result()
