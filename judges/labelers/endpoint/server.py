"""Requests to a server: one client for its life, retries, several addresses, and what it costs.

Whatever a server sends for an item costs at most that item. Only a server that is away, refuses the
key or wants money ends the stage.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import openai
from openai import AsyncOpenAI

from infra.console import warn
from infra.errors import StageError, UserError
from judges.config import EndpointConfig
from judges.labelers.endpoint.answers import ServerReply, parse_reply, server_words
from judges.labelers.endpoint.parameters import Parameters

RETRY_INTERVAL_S = 2.0
MAX_PAUSE_S = 60.0
AWAY_S = 10.0
"""How long others are asked once nobody was at an address."""
MAX_HANGS = 2
"""Times that one item may run into the time limit."""
MAX_ADAPTATIONS = 8
"""Times that the parameters of one request are changed."""
_BUSY = frozenset({429, 502, 503, 504})
_REFUSALS = frozenset({0, 400, 404, 405, 415, 422, 500, 501})
"""Statuses of a refused parameter; 0 is an error in a reply with status 200."""
_NO_CREDIT = ("insufficient_quota", "billing", "credit")
_FLAGGED = ("moderation", "flagged", "content", "safety", "policy")
_KEY = re.compile(r"\b(?:sk|key|pk|hf|gsk)[-_][A-Za-z0-9_-]{6,}")
_PASSWORD = re.compile(r"(?<=//)[^/@\s]+(?=@)")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass
class ServerUsage:
    """Requests and tokens so far."""

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, config: EndpointConfig) -> float:
        """Return the cost in the unit of the configured prices."""
        return (
            self.prompt_tokens * config.prompt_price
            + self.completion_tokens * config.completion_price
        ) / 1e6


@dataclass(frozen=True)
class FailedRequest:
    """A request without a reply, with the server's words.

    `status` is the HTTP status (0 for an error in a reply), `parameter` the one that it names.
    """

    words: str
    status: int = 0
    parameter: str = ""


ReplyOrFailure = ServerReply | FailedRequest
Send = Callable[..., Awaitable[Any]]
"""Sends a request by a client; `sent` are its parameters."""


@dataclass
class ServerAddress:
    """One of the addresses of a server, with its client."""

    url: str
    client: AsyncOpenAI
    num_open: int = 0
    """Requests that wait for an answer now."""
    away_until: float = 0.0
    """Time (`time.monotonic`) until which others are asked, because nobody was there."""

    @property
    def is_away(self) -> bool:
        """Whether nobody was there a moment ago."""
        return time.monotonic() < self.away_until


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop in this thread until it is stopped."""
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()


def _end(loop: asyncio.AbstractEventLoop, clients: Sequence[AsyncOpenAI]) -> None:
    """Close the clients and then their loop."""

    async def close() -> None:
        for client in clients:
            await client.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(close(), loop)


def masked_url(url: str) -> str:
    """Return the URL without the user and the password in it."""
    return _PASSWORD.sub("***", url)


def _is_temporary(error: openai.APIError) -> bool:
    """Whether the server is unreachable, starting or overloaded, so that the same request may
    succeed later.
    """
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _BUSY
    return isinstance(error, openai.APIConnectionError)


def _may_pass(error: openai.APIError) -> bool:
    """Whether the same request may succeed: the server failed, and did not find it wrong."""
    if not isinstance(error, openai.APIStatusError):
        return True
    return error.status_code >= 500 or error.status_code in (408, 409, 429)


@dataclass
class _Attempt:
    """How often a request was tried, and how long it may still wait for a server that is away."""

    deadline: float
    num_before: int
    """Replies to all requests when this one began."""
    num_tries: int = 0
    num_hangs: int = 0


@dataclass
class Server:
    """A server at one or several addresses. The API key is read from the environment and is never
    printed.
    """

    config: EndpointConfig
    spent: float = 0.0
    """What the run has paid for this server before."""
    usage: ServerUsage = field(default_factory=ServerUsage)

    def __post_init__(self) -> None:
        config = self.config
        self._key = os.environ.get(config.key_variable, "") or "none"
        self.parameters = Parameters(config.reasoning_tokens, config.sent_with_questions())
        self._unasked = Parameters()
        """Those of continuations, before which nothing is thought."""
        self._is_waiting = self._has_no_completions = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_serve, args=(self._loop,), daemon=True).start()
        urls = dict.fromkeys([config.url, *config.more_urls])
        self.addresses = [ServerAddress(url, self._client(url)) for url in urls]
        self._used = self.addresses
        clients = [address.client for address in self.addresses]
        weakref.finalize(self, _end, self._loop, clients).atexit = False

    def _client(self, url: str) -> AsyncOpenAI:
        # `_request` tries again, and knows when it is no use.
        timeout = self.config.timeout_s
        return AsyncOpenAI(base_url=url, api_key=self._key, timeout=timeout, max_retries=0)

    @property
    def cost(self) -> float:
        """What the run has paid for this server."""
        return self.spent + self.usage.cost(self.config)

    @contextmanager
    def only(self, address: ServerAddress) -> Iterator[None]:
        """Send all requests in the block to one address."""
        self._used = [address]
        try:
            yield
        finally:
            self._used = self.addresses

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Wait for work in the event loop. An error in a task group is raised as itself."""
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result()
        except* (StageError, UserError) as group:
            raise group.exceptions[0] from None
        finally:
            waiting.cancel()  # nothing goes on after an interrupt

    def map(
        self, one: Callable[[ItemT], Awaitable[ResultT]], items: Sequence[ItemT]
    ) -> list[ResultT]:
        """Ask about all items, at most `concurrency` at a time; return the results in the items'
        order.
        """

        async def everything() -> list[ResultT]:
            slots = asyncio.Semaphore(self.config.concurrency)

            async def held(item: ItemT) -> ResultT:
                async with slots:
                    return await one(item)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(held(item)) for item in items]
            return [task.result() for task in tasks]

        return self.run(everything())

    async def chat(
        self, model: str, content: str, seed: int, options: Mapping[str, Any]
    ) -> ReplyOrFailure:
        """The reply to one question."""

        def send(client: AsyncOpenAI, sent: dict[str, Any]) -> Awaitable[Any]:
            return client.chat.completions.with_raw_response.create(
                model=model, messages=[{"role": "user", "content": content}], extra_body=sent
            )

        return await self._adapted(send, {"seed": seed, **options}, self.parameters)

    async def complete(
        self, model: str, prompt: str, seed: int, options: Mapping[str, Any]
    ) -> ReplyOrFailure:
        """The continuation of a prompt; the reply to it where the server continues nothing."""

        def send(client: AsyncOpenAI, sent: dict[str, Any]) -> Awaitable[Any]:
            return client.completions.with_raw_response.create(
                model=model, prompt=prompt, extra_body=sent
            )

        if not self._has_no_completions:
            outcome = await self._adapted(send, {"seed": seed, **options}, self._unasked)
            if isinstance(outcome, ServerReply) or not _lacks_completions(outcome):
                return outcome
            self._has_no_completions = True
            warn(f"{self._shown_url()} completes no prompts; they are sent as questions")
        return await self.chat(model, prompt, seed, options)

    async def model_list(self) -> str | FailedRequest:
        """The body of the list of models."""
        return await self._request(lambda client: client.models.with_raw_response.list())

    async def _adapted(
        self, send: Send, wanted: dict[str, Any], parameters: Parameters
    ) -> ReplyOrFailure:
        """The server's reply, or a failure with its words; parameters that it refuses change."""
        for _ in range(MAX_ADAPTATIONS):
            sent = parameters.fitted(wanted)
            outcome = await self._reply(partial(send, sent=sent))
            if isinstance(outcome, ServerReply) or outcome.status not in _REFUSALS:
                return outcome
            change = parameters.adapt(sent, outcome.words, outcome.parameter)
            if change:
                warn(f"{self._shown_url()}: {change}")
            elif parameters.fitted(wanted) == sent:
                return outcome
        return outcome

    async def _reply(self, call: Callable[[AsyncOpenAI], Awaitable[Any]]) -> ReplyOrFailure:
        """Return the server's reply, or a failure with its words."""
        body = await self._request(call)
        if isinstance(body, FailedRequest):
            return body
        try:
            reply = parse_reply(body)
        except ValueError as error:
            return self._failed(str(error))
        self._count(reply)
        return reply

    async def _request(self, call: Callable[[AsyncOpenAI], Awaitable[Any]]) -> str | FailedRequest:
        """Return the body of the server's response, or a failure if it rejects this request. Waits
        while the server is down.
        """
        deadline = time.monotonic() + self.config.patience_s
        attempt = _Attempt(deadline, self.usage.requests)
        while True:
            address = min(self._used, key=lambda a: (a.is_away, a.num_open))
            address.num_open += 1
            try:
                response = await call(address.client)
            except openai.APIError as error:
                if failure := await self._failure(attempt, address, error):
                    return failure
            else:
                self._is_waiting, address.away_until = False, 0.0
                return str(response.text)
            finally:
                address.num_open -= 1

    async def _failure(
        self, attempt: _Attempt, address: ServerAddress, error: openai.APIError
    ) -> FailedRequest | None:
        """What a failed try means: a failure, or None after a pause if it should be repeated."""
        self._end_if_refused(error)
        attempt.num_tries += 1
        attempt.num_hangs += isinstance(error, openai.APITimeoutError)
        has_tried = attempt.num_tries > self.config.max_retries or not _may_pass(error)
        if attempt.num_hangs >= MAX_HANGS or (has_tried and not _is_temporary(error)):
            return self._failed_by(error)
        if isinstance(error, openai.APIConnectionError):
            if has_tried and attempt.num_tries > 1 and await self._is_up(attempt, address):
                return self._failed_by(error)
            address.away_until = time.monotonic() + AWAY_S
            if not all(one.is_away for one in self._used):
                return None
        await self._pause(attempt, error)
        return None

    async def _is_up(self, attempt: _Attempt, address: ServerAddress) -> bool:
        """Whether the server answers others while it does not answer this item."""
        if self.usage.requests > attempt.num_before:
            return True
        try:
            await address.client.models.list(timeout=RETRY_INTERVAL_S)
        except openai.APIStatusError:
            return True
        except (openai.APIError, ValueError):
            return False
        return True

    def _end_if_refused(self, error: openai.APIError) -> None:
        """Raise if the server refuses every request: because of the key, or for want of money."""
        if not isinstance(error, openai.APIStatusError):
            return
        if error.status_code == 401:
            raise UserError(
                self.config.key_variable,
                "(not shown)",
                "the server rejects the API key in this environment variable.",
                "Set the variable to a valid key.",
            ) from error
        words = f"{error.code or ''} {self._words(error)}".casefold()
        is_flagged = any(word in words for word in _FLAGGED)
        is_out = error.status_code == 429 and any(word in words for word in _NO_CREDIT)
        if is_out or error.status_code == 402 or (error.status_code == 403 and not is_flagged):
            raise StageError(
                "judge",
                self._shown_url(),
                f"the server refuses: {self._words(error)};"
                " give it credit or another key and run the same command again",
            ) from error

    def _shown_url(self) -> str:
        return ", ".join(masked_url(address.url) for address in self._used)

    def _words(self, error: openai.APIError) -> str:
        words = server_words({"error": error.body or error.message})
        return self._without_keys(words)

    def _without_keys(self, words: str) -> str:
        shown = words if self._key == "none" else words.replace(self._key, "(key)")
        return masked_url(_KEY.sub("(key)", shown))

    def _failed_by(self, error: openai.APIError) -> FailedRequest:
        status = error.status_code if isinstance(error, openai.APIStatusError) else -1
        return self._failed(self._words(error), status, str(error.param or ""))

    def _failed(self, words: str, status: int = 0, parameter: str = "") -> FailedRequest:
        self.usage.failures += 1
        return FailedRequest(self._without_keys(words), status, parameter)

    async def _pause(self, attempt: _Attempt, error: openai.APIError) -> None:
        """Wait before the next try. Raises `StageError` if the server is away for too long."""
        if not _is_temporary(error):
            await asyncio.sleep(min(0.25 * 2**attempt.num_tries, RETRY_INTERVAL_S))
            return
        if time.monotonic() > attempt.deadline:
            raise StageError(
                "judge",
                self._shown_url(),
                f"no answer for {self.config.patience_s:.0f} s;"
                " start the server and run the same command again",
            ) from error
        if not self._is_waiting:
            warn(f"{self._shown_url()} does not answer; waiting for it")
        self._is_waiting = True
        await asyncio.sleep(_wanted_pause(error))

    def _count(self, reply: ServerReply) -> None:
        self.usage.requests += 1
        self.usage.prompt_tokens += reply.usage.prompt_tokens
        self.usage.completion_tokens += reply.usage.completion_tokens
        if 0 < self.config.max_cost < self.cost:
            raise StageError(
                "judge",
                self._shown_url(),
                f"the limit judge.endpoint.max_cost = {self.config.max_cost:g} is reached;"
                " raise it and run the same command again",
            )


def _lacks_completions(failure: FailedRequest) -> bool:
    """Whether a server has no completions of prompts, or not for this model."""
    words = failure.words.casefold()
    return failure.status in (404, 405, 501) or (failure.status == 400 and "chat" in words)


def _wanted_pause(error: openai.APIError) -> float:
    """Return the seconds that the server asks to wait, within bounds."""
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
    try:
        return min(max(float(headers.get("retry-after", "")), 0.1), MAX_PAUSE_S)
    except ValueError:
        return RETRY_INTERVAL_S
