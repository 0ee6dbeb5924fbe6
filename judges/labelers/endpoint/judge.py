"""A labeler behind an OpenAI-compatible server, such as vLLM, SGLang, llama.cpp, Ollama or a hosted
one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from infra.errors import UserError
from infra.models.language_model import CompletedText
from infra.records import content_key
from judges.config import MAX_LABEL_TOKENS, RATIONALE, RATIONALE_TOKENS, EndpointConfig
from judges.judgment.answers import LabelAnswer, LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.label_questions import LabelQuestionJudge
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.questions import Question, visible
from judges.labelers.endpoint.answers import (
    ServerReply,
    read_counts,
    read_logprobs,
    read_text,
)
from judges.labelers.endpoint.capabilities import (
    COUNTS,
    LOGPROBS,
    MAX_SCHEMA_TOKENS,
    METHODS_BY_WORTH,
    TEXT,
    menu_schema,
    probe_server,
)
from judges.labelers.endpoint.server import FailedRequest, Server, ServerUsage
from judges.rubrics import Rubric

RATIONALE_REQUEST = (
    "\n\nDo not answer at once. First give your reasons in two or three sentences. Then write your"
    " answer on a last line of its own, in this form:\nAnswer: {labels}"
)
_READERS = {LOGPROBS: read_logprobs, COUNTS: read_counts, TEXT: read_text, RATIONALE: read_text}
_ROLES = re.compile(
    r"<(?=\||/?s>|(?:start|end)_of_turn>|(?:bos|eos|pad|unk)>|/?(?:system|user|assistant)>|<SYS>>|</SYS>>)"
    r"|\[(?=/?INST\])",
    re.IGNORECASE,
)


def neutralise_roles(text: str) -> str:
    """Return untrusted text in which no chat template finds a role: `<|im_end|>` becomes `<
    |im_end|>`.

    The server's template is unknown, so the role tokens of all common templates are broken up.
    """
    return _ROLES.sub(lambda role: role.group() + " ", text)


class EndpointJudge(LabelQuestionJudge):
    """A labeler behind a server; all its requests go through one `Server`."""

    name = ""
    methods: tuple[str, ...] = ()
    values_sides = False

    def __init__(self, config: EndpointConfig, seed: int = 0, server: Server | None = None) -> None:
        self.seed = seed
        self._config = config
        self._server = server or Server(config)
        self.capabilities = self._server.run(probe_server(self._server))
        self.methods = self._usable_methods()
        digest = content_key(config.url, self.capabilities.model)[:12]
        self.name = f"endpoint:{self.capabilities.model.rsplit('/', 1)[-1]}@{digest}"

    def _usable_methods(self) -> tuple[str, ...]:
        """The method that the recipe names; else the best one, and reasons before the answer."""
        best, method = self.capabilities.method, self._config.method
        if method == "best":
            return best, RATIONALE
        if method not in (*METHODS_BY_WORTH[METHODS_BY_WORTH.index(best) :], RATIONALE):
            problem, remedy = "the server does not support this method.", f"Use {best}, or best."
            raise UserError("judge.endpoint.method", method, problem, remedy)
        return (method,)

    @property
    def usage(self) -> ServerUsage:
        """Requests and tokens so far."""
        return self._server.usage

    @property
    @override
    def cost(self) -> float:
        return self._server.cost

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

        async def one(question: Question) -> LabelAnswer:
            return await self._label(question, method)

        return self._server.map(one, questions)

    @override
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        model = self.capabilities.model
        options = {"max_tokens": max_new_tokens, "temperature": temperature}

        async def one(numbered: tuple[int, str]) -> CompletedText:
            number, prompt = numbered
            own_seed = (seed + number) % 2**31
            clean = neutralise_roles(prompt)
            reply = await self._server.complete(model, clean, own_seed, options)
            if isinstance(reply, FailedRequest):
                return CompletedText("", 0, finished=False)
            return CompletedText(reply.text, reply.usage.completion_tokens, not reply.is_cut)

        return self._server.map(one, list(enumerate(prompts)))

    async def _label(self, question: Question, method: str) -> LabelAnswer:
        """Ask one label question and read the answer with the given method."""
        content, options = question.content, self._options(question, method)
        if method == RATIONALE:
            content += RATIONALE_REQUEST.format(labels=" or ".join(question.labels))
        seeds = range(self._config.num_samples if method == COUNTS else 1)
        numbers = [int(content_key(question.key, i)[:7], 16) for i in seeds]
        model = self.capabilities.model
        outcomes = [await self._server.chat(model, content, n, options) for n in numbers]
        replies = [outcome for outcome in outcomes if isinstance(outcome, ServerReply)]
        if len(replies) < len(outcomes):
            words = [o.words for o in outcomes if isinstance(o, FailedRequest)]
            return LabelAnswer(None, "backend", raw=json.dumps(words))
        return _READERS[method](replies, question.labels)

    def _options(self, question: Question, method: str) -> dict[str, Any]:
        if method == LOGPROBS:
            number = self.capabilities.num_logprobs
            tokens = {"max_tokens": 1, "temperature": 0.0}
            return tokens | {"logprobs": True, "top_logprobs": number}
        if method == RATIONALE:
            return {"max_tokens": RATIONALE_TOKENS, "temperature": 0.0}
        options: dict[str, Any] = {
            "max_tokens": MAX_LABEL_TOKENS,
            "temperature": float(method == COUNTS),
        }
        if self.capabilities.has_schema:
            schema = menu_schema(question.labels)
            options |= {"max_tokens": MAX_SCHEMA_TOKENS, "response_format": schema}
        return options
