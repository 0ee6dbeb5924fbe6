"""A labeler behind an OpenAI-compatible server, such as vLLM, SGLang, llama.cpp, Ollama or a hosted
one.

At the start the labeler tests what the server supports and then uses a single method, so that
statistics never mix methods: `logprobs` of the first token if the server returns them, else
`counts` of labels over several sampled answers if it has seeds, else `text`, the last allowed label
in one answer.
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
    first_alternatives,
    read_counts,
    read_logprobs,
    read_text,
)
from judges.rubrics import Rubric

LOGPROBS, COUNTS, TEXT = "logprobs", "counts", "text"
METHODS_BY_WORTH = (LOGPROBS, COUNTS, TEXT)
LOGPROB_LIMITS = (20, 5)
"""Numbers of alternatives to ask for: the protocol's maximum, and the maximum of many servers."""
MAX_LABEL_TOKENS = 8
MAX_SCHEMA_TOKENS = 24
RETRY_INTERVAL_S = 2.0
_BUSY = frozenset({429, 502, 503, 504})
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


def _is_temporary(error: openai.APIError) -> bool:
    """Whether the server is unreachable, starting or overloaded, so that the same request may
    succeed later.
    """
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _BUSY
    return isinstance(error, openai.APIConnectionError)


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
            answer = await self._request(
                lambda: client.completions.create(
                    model=self.capabilities.model,
                    prompt=neutralise_roles(prompt),
                    max_tokens=max_new_tokens,
                    temperature=temperature,
                    seed=(seed + number) % 2**31,
                )
            )
            if answer is None or not answer.choices:
                return CompletedText("", 0, finished=False)
            tokens = answer.usage.completion_tokens if answer.usage else 0
            return CompletedText(
                answer.choices[0].text, tokens, answer.choices[0].finish_reason == "stop"
            )

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
        answers = [
            await self._chat(client, question.content, number, options) for number in numbers
        ]
        if any(answer is None for answer in answers):
            return LabelAnswer(None, "backend")
        read = {LOGPROBS: read_logprobs, COUNTS: read_counts, TEXT: read_text}[method]
        return read(answers, question.labels)

    async def _chat(
        self, client: AsyncOpenAI, content: str, seed: int, options: dict[str, Any]
    ) -> Any:
        model = self.capabilities.model
        return await self._request(
            lambda: client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": content}], seed=seed, **options
            )
        )

    async def _request(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Return the server's answer, or None if it rejects this request. Waits while the server is
        down.
        """
        deadline = time.monotonic() + self._config.patience_s
        while True:
            try:
                answer = await call()
            except openai.AuthenticationError as error:
                raise UserError(
                    self._config.key_variable,
                    "(not shown)",
                    "the server rejects the API key in this environment variable.",
                    "Set the variable to a valid key.",
                ) from error
            except openai.APIError as error:
                if not _is_temporary(error):
                    self.usage.failures += 1
                    return None
                await self._wait(deadline, error)
            else:
                self._count(answer)
                return answer

    async def _wait(self, deadline: float, error: openai.APIError) -> None:
        if time.monotonic() > deadline:
            raise StageError(
                "judge",
                self._config.url,
                f"no answer for {self._config.patience_s:.0f} s;"
                " start the server and run the same command again",
            ) from error
        if not self._is_waiting:
            warn(f"{self._config.url} does not answer; waiting for it")
        self._is_waiting = True
        await asyncio.sleep(RETRY_INTERVAL_S)

    def _count(self, answer: Any) -> None:
        self._is_waiting = False
        self.usage.requests += 1
        if getattr(answer, "usage", None) is not None:
            self.usage.prompt_tokens += answer.usage.prompt_tokens or 0
            self.usage.completion_tokens += answer.usage.completion_tokens or 0
        if 0 < self._config.max_cost < self.usage.cost(self._config):
            raise StageError(
                "judge",
                self._config.url,
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
                max_retries=config.max_retries,
            ) as client:
                return await work(client)

        try:
            return asyncio.run(main())
        except* (StageError, UserError) as group:
            raise group.exceptions[0] from None

    async def _probe(self, client: AsyncOpenAI) -> Capabilities:
        """Test what the server supports."""
        models = await self._request(client.models.list)
        names = [model.id for model in models.data] if models is not None else []
        model = self._config.model or (names[0] if names else "")
        if not model or (names and model not in names):
            raise UserError(
                "judge.endpoint.model",
                model,
                "the server does not have this model.",
                f"Its models: {', '.join(names[:5]) or 'none'}.",
            )
        self.capabilities = Capabilities(model)
        schema = {"max_tokens": MAX_SCHEMA_TOKENS, "response_format": menu_schema(("Yes", "No"))}
        chosen = await self._chat(client, "Is water wet?", 1, schema)
        has_schema = chosen is not None and _follows_schema(chosen)
        for number in LOGPROB_LIMITS:
            answer = await self._chat(
                client, "Say Yes.", 1, {"max_tokens": 1, "logprobs": True, "top_logprobs": number}
            )
            if answer is not None and first_alternatives(answer):
                return Capabilities(model, number, has_schema, await self._repeats(client))
        return Capabilities(model, 0, has_schema, await self._repeats(client))

    async def _repeats(self, client: AsyncOpenAI) -> bool:
        """Whether two samples with the same seed are equal. Raises `UserError` if the server
        rejects chat completions.
        """
        options = {"max_tokens": MAX_LABEL_TOKENS, "temperature": 1.0}
        both = [await self._chat(client, "Write three random words.", 7, options) for _ in range(2)]
        if any(answer is None for answer in both):
            raise UserError(
                "judge.endpoint.url",
                self._config.url,
                "the server rejects chat completions.",
                "Give the URL of an OpenAI-compatible API; it usually ends in /v1.",
            )
        first, second = (answer.choices[0].message.content for answer in both)
        return bool(first == second)


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


def _follows_schema(answer: Any) -> bool:
    try:
        return json.loads(answer.choices[0].message.content or "") in (
            {"label": "Yes"},
            {"label": "No"},
        )
    except (ValueError, IndexError):
        return False
