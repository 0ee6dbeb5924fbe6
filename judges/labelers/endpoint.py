"""A labeler behind an OpenAI-compatible server, such as vLLM, SGLang, llama.cpp, Ollama or a hosted
one.

At the start the labeler tests what the server supports and then uses a single method, so that
statistics never mix methods: `logprobs` of the first token if the server returns them, else
`counts` of labels over several sampled answers if it has seeds, else `text`, the label of one
answer.

Whatever a server sends for an item costs at most that item. Only a server that is away, refuses the
key or wants money ends the stage.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import openai
from openai import AsyncOpenAI
from typing_extensions import override

from infra.console import warn
from infra.errors import StageError, UserError
from infra.models.language_model import CompletedText
from infra.records import content_key
from judges.config import EndpointConfig
from judges.judgment.answers import LabelAnswer, LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.label_questions import LabelQuestionJudge
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.questions import Question, visible
from judges.labelers.endpoint_answers import (
    ServerReply,
    parse_reply,
    read_counts,
    read_logprobs,
    read_text,
    server_words,
)
from judges.rubrics import Rubric

LOGPROBS, COUNTS, TEXT = "logprobs", "counts", "text"
METHODS_BY_WORTH = (LOGPROBS, COUNTS, TEXT)
LOGPROB_LIMITS = (20, 5)
"""Numbers of alternatives to ask for: the protocol's maximum, and the maximum of many servers."""
MAX_LABEL_TOKENS = 128
"""Longest reply. A reply that is cut off is not read, so there is room for a sentence."""
PROBE_TOKENS = 8
MAX_SCHEMA_TOKENS = 24
RETRY_INTERVAL_S = 2.0
MAX_PAUSE_S = 60.0
MAX_HANGS = 2
"""Times that one item may run into the time limit."""
_BUSY = frozenset({429, 502, 503, 504})
_NO_CREDIT = ("insufficient_quota", "billing", "credit")
_FLAGGED = ("moderation", "flagged", "content", "safety", "policy")
_KEY = re.compile(r"\b(?:sk|key|pk|hf|gsk)[-_][A-Za-z0-9_-]{6,}")
_PASSWORD = re.compile(r"(?<=//)[^/@\s]+(?=@)")
_ROLES = re.compile(
    r"<(?=\||/?s>|(?:start|end)_of_turn>|(?:bos|eos|pad|unk)>|/?(?:system|user|assistant)>|<SYS>>|</SYS>>)"
    r"|\[(?=/?INST\])",
    re.IGNORECASE,
)
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
class Capabilities:
    """What a server supports.

    `num_logprobs` is the number of alternatives with log-probabilities, `has_schema` means that
    answers follow a JSON schema, `has_seed` means that samples repeat for the same seed.
    """

    model: str
    num_logprobs: int = 0
    has_schema: bool = False
    has_seed: bool = False

    @property
    def method(self) -> str:
        """The best method that the server supports."""
        return LOGPROBS if self.num_logprobs else COUNTS if self.has_seed else TEXT


def neutralise_roles(text: str) -> str:
    """Return untrusted text in which no chat template finds a role: `<|im_end|>` becomes `<
    |im_end|>`.

    The server's template is unknown, so the role tokens of all common templates are broken up.
    """
    return _ROLES.sub(lambda role: role.group() + " ", text)


@dataclass(frozen=True)
class FailedRequest:
    """A request without a reply, with the server's words."""

    words: str


ReplyOrFailure = ServerReply | FailedRequest


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


class EndpointJudge(LabelQuestionJudge):
    """A labeler behind a server. The API key is read from the environment and is never printed."""

    name = ""
    methods: tuple[str, ...] = ()
    values_sides = False

    def __init__(self, config: EndpointConfig, seed: int = 0) -> None:
        self.seed = seed
        self._config = config
        self._key = os.environ.get(config.key_variable, "") or "none"
        self._is_waiting = False
        self.usage = ServerUsage()
        self.capabilities = self._run(self._probe)
        if config.method not in (
            "best",
            *METHODS_BY_WORTH[METHODS_BY_WORTH.index(self.capabilities.method) :],
        ):
            raise UserError(
                "judge.endpoint.method",
                config.method,
                "the server does not support this method.",
                f"Use {self.capabilities.method}, or best.",
            )
        method = self.capabilities.method if config.method == "best" else config.method
        self.methods = (method,)
        server = content_key(config.url, self.capabilities.model)[:12]
        self.name = f"endpoint:{self.capabilities.model.rsplit('/', 1)[-1]}@{server}"

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        return self.score_criteria(rubric, method, subjects)

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        return self.compare_shown(rubric, method, pairs)

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        return self.rank_shown(rubric, method, candidate_lists)

    @override
    def clean(self, text: str) -> str:
        return neutralise_roles(visible(text))

    @override
    def score_labels(self, method: str, questions: Sequence[Question]) -> list[LabelAnswer]:

        async def one(client: AsyncOpenAI, question: Question) -> LabelAnswer:
            return await self._ask_server(client, question, method)

        return self._map(one, questions)

    @override
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:

        async def one(client: AsyncOpenAI, numbered: tuple[int, str]) -> CompletedText:
            number, prompt = numbered
            reply = await self._reply(
                client,
                lambda: client.completions.with_raw_response.create(
                    model=self.capabilities.model,
                    prompt=neutralise_roles(prompt),
                    max_tokens=max_new_tokens,
                    temperature=temperature,
                    seed=(seed + number) % 2**31,
                ),
            )
            if isinstance(reply, FailedRequest):
                return CompletedText("", 0, finished=False)
            return CompletedText(reply.text, reply.usage.completion_tokens, not reply.is_cut)

        return self._map(one, list(enumerate(prompts)))

    async def _ask_server(
        self, client: AsyncOpenAI, question: Question, method: str
    ) -> LabelAnswer:
        """Ask one label question and read the answer with the given method."""
        options: dict[str, Any] = {
            "max_tokens": MAX_LABEL_TOKENS,
            "temperature": 1.0 if method == COUNTS else 0.0,
        }
        if method == LOGPROBS:
            options |= {
                "max_tokens": 1,
                "logprobs": True,
                "top_logprobs": self.capabilities.num_logprobs,
            }
        elif self.capabilities.has_schema:
            options |= {
                "max_tokens": MAX_SCHEMA_TOKENS,
                "response_format": menu_schema(question.labels),
            }
        seeds = range(self._config.num_samples if method == COUNTS else 1)
        numbers = [int(content_key(question.key, i)[:7], 16) for i in seeds]
        outcomes = [
            await self._chat(client, question.content, number, options) for number in numbers
        ]
        replies = [outcome for outcome in outcomes if isinstance(outcome, ServerReply)]
        if len(replies) < len(outcomes):
            words = [o.words for o in outcomes if isinstance(o, FailedRequest)]
            return LabelAnswer(None, "backend", raw=json.dumps(words))
        read = {LOGPROBS: read_logprobs, COUNTS: read_counts, TEXT: read_text}[method]
        return read(replies, question.labels)

    async def _chat(
        self, client: AsyncOpenAI, content: str, seed: int, options: dict[str, Any]
    ) -> ReplyOrFailure:
        model = self.capabilities.model
        return await self._reply(
            client,
            lambda: client.chat.completions.with_raw_response.create(
                model=model, messages=[{"role": "user", "content": content}], seed=seed, **options
            ),
        )

    async def _reply(
        self, client: AsyncOpenAI, call: Callable[[], Awaitable[Any]]
    ) -> ReplyOrFailure:
        """Return the server's reply, or a failure with its words."""
        body = await self._request(client, call)
        if isinstance(body, FailedRequest):
            return body
        try:
            reply = parse_reply(body)
        except ValueError as error:
            return self._failed(str(error))
        self._count(reply)
        return reply

    async def _request(
        self, client: AsyncOpenAI, call: Callable[[], Awaitable[Any]]
    ) -> str | FailedRequest:
        """Return the body of the server's response, or a failure if it rejects this request. Waits
        while the server is down.
        """
        deadline = time.monotonic() + self._config.patience_s
        num_tries = num_hangs = 0
        num_before = self.usage.requests
        while True:
            try:
                response = await call()
            except openai.APIError as error:
                self._end_if_refused(error)
                num_tries += 1
                num_hangs += isinstance(error, openai.APITimeoutError)
                has_tried = num_tries > self._config.max_retries or not _may_pass(error)
                if num_hangs >= MAX_HANGS or (has_tried and not _is_temporary(error)):
                    return self._failed(self._words(error))
                is_alone = isinstance(error, openai.APIConnectionError) and num_tries > 1
                if is_alone and has_tried and await self._is_up(client, num_before):
                    return self._failed(self._words(error))
                await self._pause(deadline, error, num_tries)
            else:
                self._is_waiting = False
                return str(response.text)

    async def _is_up(self, client: AsyncOpenAI, num_before: int) -> bool:
        """Whether the server answers others while it does not answer this item."""
        if self.usage.requests > num_before:
            return True
        try:
            await client.models.list(timeout=RETRY_INTERVAL_S)
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
                self._config.key_variable,
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
                masked_url(self._config.url),
                f"the server refuses: {self._words(error)};"
                " give it credit or another key and run the same command again",
            ) from error

    def _words(self, error: openai.APIError) -> str:
        words = server_words({"error": error.body or error.message})
        return self._without_keys(words)

    def _without_keys(self, words: str) -> str:
        shown = words if self._key == "none" else words.replace(self._key, "(key)")
        return masked_url(_KEY.sub("(key)", shown))

    def _failed(self, words: str) -> FailedRequest:
        self.usage.failures += 1
        return FailedRequest(self._without_keys(words))

    async def _pause(self, deadline: float, error: openai.APIError, num_tries: int) -> None:
        """Wait before the next try. Raises `StageError` if the server is away for too long."""
        if not _is_temporary(error):
            await asyncio.sleep(min(0.25 * 2**num_tries, RETRY_INTERVAL_S))
            return
        url = masked_url(self._config.url)
        if time.monotonic() > deadline:
            raise StageError(
                "judge",
                url,
                f"no answer for {self._config.patience_s:.0f} s;"
                " start the server and run the same command again",
            ) from error
        if not self._is_waiting:
            warn(f"{url} does not answer; waiting for it")
        self._is_waiting = True
        await asyncio.sleep(_wanted_pause(error))

    def _count(self, reply: ServerReply) -> None:
        self.usage.requests += 1
        self.usage.prompt_tokens += reply.usage.prompt_tokens
        self.usage.completion_tokens += reply.usage.completion_tokens
        if 0 < self._config.max_cost < self.usage.cost(self._config):
            raise StageError(
                "judge",
                masked_url(self._config.url),
                f"the limit judge.endpoint.max_cost = {self._config.max_cost:g} is reached;"
                " raise it and run the same command again",
            )

    def _map(
        self, one: Callable[[AsyncOpenAI, ItemT], Awaitable[ResultT]], items: Sequence[ItemT]
    ) -> list[ResultT]:
        """Ask about all items, at most `concurrency` at a time; return the results in the items'
        order.
        """

        async def everything(client: AsyncOpenAI) -> list[ResultT]:
            slots = asyncio.Semaphore(self._config.concurrency)

            async def held(item: ItemT) -> ResultT:
                async with slots:
                    return await one(client, item)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(held(item)) for item in items]
            return [task.result() for task in tasks]

        return self._run(everything)

    def _run(self, work: Callable[[AsyncOpenAI], Awaitable[ResultT]]) -> ResultT:
        """Run `work` with a client in its own event loop. An error in a task group is raised as
        itself.
        """

        async def main() -> ResultT:
            config = self._config
            async with AsyncOpenAI(
                base_url=config.url,
                api_key=self._key,
                timeout=config.timeout_s,
                max_retries=0,  # `_request` tries again, and knows when it is no use
            ) as client:
                return await work(client)

        try:
            return asyncio.run(main())
        except* (StageError, UserError) as group:
            raise group.exceptions[0] from None

    async def _probe(self, client: AsyncOpenAI) -> Capabilities:
        """Test what the server supports."""
        body = await self._request(client, client.models.with_raw_response.list)
        names = [] if isinstance(body, FailedRequest) else _model_names(body)
        model = self._config.model or (names[0] if names else "")
        if not model:
            raise UserError(
                "judge.endpoint.model",
                model,
                "the server lists no models.",
                "Give the name of the model.",
            )
        # A name that is not listed may be an alias, so the server is asked.
        self.capabilities = Capabilities(model)
        schema = {"max_tokens": MAX_SCHEMA_TOKENS, "response_format": menu_schema(("Yes", "No"))}
        chosen = await self._chat(client, "Is water wet?", 1, schema)
        has_schema = isinstance(chosen, ServerReply) and _follows_schema(chosen)
        for number in LOGPROB_LIMITS:
            reply = await self._chat(
                client, "Say Yes.", 1, {"max_tokens": 1, "logprobs": True, "top_logprobs": number}
            )
            if isinstance(reply, ServerReply) and reply.alternatives:
                return Capabilities(model, number, has_schema, await self._repeats(client, names))
        return Capabilities(model, 0, has_schema, await self._repeats(client, names))

    async def _repeats(self, client: AsyncOpenAI, names: Sequence[str]) -> bool:
        """Whether two samples with the same seed are equal. Raises `UserError` if the server
        rejects chat completions.
        """
        options = {"max_tokens": PROBE_TOKENS, "temperature": 1.0}
        both = [await self._chat(client, "Write three random words.", 7, options) for _ in range(2)]
        texts = [outcome.text for outcome in both if isinstance(outcome, ServerReply)]
        if len(texts) == len(both):
            return texts[0] == texts[1]
        words = next(o.words for o in both if isinstance(o, FailedRequest))
        model = self.capabilities.model
        if names and model not in names:
            raise UserError(
                "judge.endpoint.model",
                model,
                f"the server does not have this model ({words}).",
                f"Its models: {', '.join(names[:5])}.",
            )
        raise UserError(
            "judge.endpoint.url",
            masked_url(self._config.url),
            f"the server rejects chat completions ({words}).",
            "Give the URL of an OpenAI-compatible API; it usually ends in /v1.",
        )


def _wanted_pause(error: openai.APIError) -> float:
    """Return the seconds that the server asks to wait, within bounds."""
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
    try:
        return min(max(float(headers.get("retry-after", "")), 0.1), MAX_PAUSE_S)
    except ValueError:
        return RETRY_INTERVAL_S


def _model_names(body: str) -> list[str]:
    """Return the names in a list of models; what is not one is left out."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    models = value.get("data") if isinstance(value, dict) else None
    rows = models if isinstance(models, list) else []
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def menu_schema(labels: Sequence[str]) -> dict[str, Any]:
    """Return the request option that makes a server answer with one of the labels as JSON."""
    label = {"type": "string", "enum": list(labels)}
    schema = {
        "type": "object",
        "properties": {"label": label},
        "required": ["label"],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }


def _follows_schema(reply: ServerReply) -> bool:
    try:
        return json.loads(reply.text) in ({"label": "Yes"}, {"label": "No"})
    except (ValueError, RecursionError):
        return False
