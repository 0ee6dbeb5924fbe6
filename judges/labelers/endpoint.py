"""A labeler behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, or a hosted one.

What the server can do is asked before anything is judged, and decides on the one way in which it is
asked from then on, so that statistics never mix them: `logprobs` of the first token where it gives
any, else `counts` of labels over several sampled answers, else `text`, the last allowed label in
one answer.
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

from infra.console import warn
from infra.errors import StageError, UserError
from infra.models.language_model import CompletedText
from infra.records import content_key
from judges.config import EndpointConfig
from judges.judgment.answers import Answer, LabelAnswer
from judges.judgment.asking import AsksLabels
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import Listing, Ranking
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
WAYS_BY_WORTH = (LOGPROBS, COUNTS, TEXT)
MOST_LOGPROBS = (20, 5)
"""Numbers of alternatives to ask for: the most that the protocol allows, and what many servers stop
at."""
LABEL_TOKENS = 8
SCHEMA_TOKENS = 24
POLL_S = 2.0
_BUSY = frozenset({429, 502, 503, 504})
_ROLES = re.compile(
    r"<(?=\||/?s>|(?:start|end)_of_turn>|(?:bos|eos|pad|unk)>|/?(?:system|user|assistant)>|<SYS>>|</SYS>>)"
    r"|\[(?=/?INST\])",
    re.IGNORECASE,
)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Usage:
    """What was spent so far; cost in the unit of the configured prices."""

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, config: EndpointConfig) -> float:
        """Tokens times prices."""
        return (
            self.prompt_tokens * config.prompt_price
            + self.completion_tokens * config.completion_price
        ) / 1e6


@dataclass(frozen=True)
class Capabilities:
    """What a server was found to do.

    The number of alternatives that come with log-probabilities, answers that keep to a schema, and
    samples that repeat for a seed.
    """

    model: str
    num_logprobs: int = 0
    has_schema: bool = False
    has_seed: bool = False

    @property
    def way(self) -> str:
        """The best way of asking that the server allows."""
        return LOGPROBS if self.num_logprobs else COUNTS if self.has_seed else TEXT


def neutralise_roles(text: str) -> str:
    """Untrusted text in which no chat template finds a role: `<|im_end|>` becomes `< |im_end|>`.

    The server's template is not known here, so the role tokens of all common ones are taken apart.
    """
    return _ROLES.sub(lambda found: found.group() + " ", text)


def _is_passing(error: openai.APIError) -> bool:
    """Whether the server is away, starting or too busy, so that the same request may be answered
    later.
    """
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _BUSY
    return isinstance(error, openai.APIConnectionError)


class EndpointJudge(AsksLabels):
    """See `judges.judgment.protocol.Judge`. The key comes from the environment and is never shown."""

    name = ""
    ways: tuple[str, ...] = ()
    values_sides = False

    def __init__(self, config: EndpointConfig, seed: int = 0) -> None:
        self.seed = seed
        self._config = config
        self._key = os.environ.get(config.key_variable, "") or "none"
        self._is_waiting = False
        self.usage = Usage()
        self.capabilities = self._run(self._probe)
        if config.way not in ("best", *WAYS_BY_WORTH[WAYS_BY_WORTH.index(self.capabilities.way) :]):
            raise UserError(
                "judge.endpoint.way",
                config.way,
                "the server cannot be asked so.",
                f"It can by {self.capabilities.way}.",
            )
        way = self.capabilities.way if config.way == "best" else config.way
        self.ways = (way,)
        server = content_key(config.url, self.capabilities.model)[:12]
        self.name = f"endpoint:{self.capabilities.model.rsplit('/', 1)[-1]}@{server}"

    # The protocol of a judge.

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`."""
        return self.score_criteria(rubric, way, subjects)

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`; both sides are shown at once."""
        return self.choose(rubric, way, pairs)

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge`; all texts are shown at once."""
        return self.best_of(rubric, way, listings)

    def clean(self, text: str) -> str:
        """See `AsksLabels`."""
        return neutralise_roles(visible(text))

    def score_labels(self, way: str, questions: Sequence[Question]) -> list[LabelAnswer]:
        """See `AsksLabels`; at most `concurrency` questions at a time."""

        async def one(client: AsyncOpenAI, question: Question) -> LabelAnswer:
            return await self._ask_server(client, question, way)

        return self._map(one, questions)

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge`. A prompt that cannot be completed gives an empty, unfinished text."""

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

    # Asking.

    async def _ask_server(self, client: AsyncOpenAI, question: Question, way: str) -> LabelAnswer:
        """One label question, its answer read in the given way."""
        options: dict[str, Any] = {
            "max_tokens": LABEL_TOKENS,
            "temperature": 1.0 if way == COUNTS else 0.0,
        }
        if way == LOGPROBS:
            options |= {
                "max_tokens": 1,
                "logprobs": True,
                "top_logprobs": self.capabilities.num_logprobs,
            }
        elif self.capabilities.has_schema:
            options |= {
                "max_tokens": SCHEMA_TOKENS,
                "response_format": menu_schema(question.labels),
            }
        seeds = range(self._config.num_samples if way == COUNTS else 1)
        numbers = [int(content_key(question.key, i)[:7], 16) for i in seeds]
        answers = [
            await self._chat(client, question.content, number, options) for number in numbers
        ]
        if any(answer is None for answer in answers):
            return LabelAnswer(None, "backend")
        read = {LOGPROBS: read_logprobs, COUNTS: read_counts, TEXT: read_text}[way]
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
        """The answer, None where the server refuses this one item; waits while there is no server."""
        deadline = time.monotonic() + self._config.patience_s
        while True:
            try:
                answer = await call()
            except openai.AuthenticationError as error:
                raise UserError(
                    self._config.key_variable,
                    "(not shown)",
                    "the server refuses this key.",
                    "Set the environment variable to a valid one.",
                ) from error
            except openai.APIError as error:
                if not _is_passing(error):
                    self.usage.failures += 1
                    return None
                await self._wait(deadline, error)
            else:
                self._note(answer)
                return answer

    async def _wait(self, deadline: float, error: openai.APIError) -> None:
        if time.monotonic() > deadline:
            raise StageError(
                "judge",
                self._config.url,
                f"no answer for {self._config.patience_s:.0f} s;"
                " start the server and give the same command again",
            ) from error
        if not self._is_waiting:
            warn(f"{self._config.url} does not answer; waiting for it")
        self._is_waiting = True
        await asyncio.sleep(POLL_S)

    def _note(self, answer: Any) -> None:
        self._is_waiting = False
        self.usage.requests += 1
        if getattr(answer, "usage", None) is not None:
            self.usage.prompt_tokens += answer.usage.prompt_tokens or 0
            self.usage.completion_tokens += answer.usage.completion_tokens or 0
        if 0 < self._config.max_cost < self.usage.cost(self._config):
            raise StageError(
                "judge",
                self._config.url,
                f"judge.endpoint.max_cost = {self._config.max_cost:g} is spent",
            )

    # Running.

    def _map(
        self, one: Callable[[AsyncOpenAI, Item], Awaitable[Result]], items: Sequence[Item]
    ) -> list[Result]:
        """Ask about items, at most `concurrency` at a time; results in the items' order."""

        async def everything(client: AsyncOpenAI) -> list[Result]:
            slots = asyncio.Semaphore(self._config.concurrency)

            async def held(item: Item) -> Result:
                async with slots:
                    return await one(client, item)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(held(item)) for item in items]
            return [task.result() for task in tasks]

        return self._run(everything)

    def _run(self, work: Callable[[AsyncOpenAI], Awaitable[Result]]) -> Result:
        """Run with a client of this event loop's own; an error of a group comes out as itself."""

        async def main() -> Result:
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
        """What the server can do, by trying."""
        models = await self._request(client.models.list)
        names = [model.id for model in models.data] if models is not None else []
        wanted = self._config.model or (names[0] if names else "")
        if not wanted or (names and wanted not in names):
            raise UserError(
                "judge.endpoint.model",
                wanted,
                "the server has no such model.",
                f"It has {', '.join(names[:5]) or 'none'}.",
            )
        self.capabilities = Capabilities(wanted)
        schema = {"max_tokens": SCHEMA_TOKENS, "response_format": menu_schema(("Yes", "No"))}
        chosen = await self._chat(client, "Is water wet?", 1, schema)
        has_schema = chosen is not None and _follows_schema(chosen)
        for number in MOST_LOGPROBS:
            answer = await self._chat(
                client, "Say Yes.", 1, {"max_tokens": 1, "logprobs": True, "top_logprobs": number}
            )
            if answer is not None and first_alternatives(answer):
                return Capabilities(wanted, number, has_schema, await self._repeats(client))
        return Capabilities(wanted, 0, has_schema, await self._repeats(client))

    async def _repeats(self, client: AsyncOpenAI) -> bool:
        """Whether two samples with one seed are the same text; `UserError` where the server takes
        no chat at all.
        """
        options = {"max_tokens": LABEL_TOKENS, "temperature": 1.0}
        both = [await self._chat(client, "Write three random words.", 7, options) for _ in range(2)]
        if any(answer is None for answer in both):
            raise UserError(
                "judge.endpoint.url",
                self._config.url,
                "the server refuses chat completions.",
                "Give the address of an OpenAI-compatible API; it mostly ends in /v1.",
            )
        first, second = (answer.choices[0].message.content for answer in both)
        return bool(first == second)


def menu_schema(labels: Sequence[str]) -> dict[str, Any]:
    """What makes a server that knows schemas answer with one of the labels."""
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
