"""A labeler that is a language model in this process."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from scipy.special import log_softmax
from typing_extensions import override

from infra.artifacts import folder_digest
from infra.errors import UserError
from infra.models.folders import resolve_model
from infra.models.language_model import CompletedText, ContinuationScore, LanguageModel
from judges.judgment.answers import LabelAnswer, LabelerAnswer, TokenUsage, logit, total_usage
from judges.judgment.elicitation import Subject, log_score, requests_for, score_value
from judges.judgment.label_questions import LabelQuestionJudge
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.questions import Question, visible
from judges.rubrics import CHOICE, LABEL_GIVEN_TEXT, METHODS, Rubric

EMPTY_LOSES = 20.0
"""Log-odds (nats) of any text against an empty one."""


@dataclass(frozen=True)
class TextScore:
    """The score of one text in nats, or None with a reason, and its token cost."""

    nats: float | None
    reason: str
    usage: TokenUsage


class LocalJudge(LabelQuestionJudge):
    """A transformers model in this process."""

    name = ""
    methods = METHODS
    values_sides = True

    def __init__(self, reference: str, seed: int = 0) -> None:
        folder = resolve_model(reference, "judge.model")
        self.model = LanguageModel(folder, "judge.model")
        self.name = f"{reference}@{folder_digest(folder)[:12]}"
        self.seed = seed

    @override
    def clean(self, text: str) -> str:
        return self.model.neutralise(visible(text))

    @override
    def score_labels(self, method: str, questions: Sequence[Question]) -> list[LabelAnswer]:
        for labels in {q.labels for q in questions}:
            self._check_tokens(labels)
        scored = self._score_all(
            [[(self.model.chat_prompt(q.content), lab) for lab in q.labels] for q in questions]
        )
        return [
            _labeled(question, scores) for question, scores in zip(questions, scored, strict=True)
        ]

    def _check_tokens(self, labels: Sequence[str]) -> None:
        """Raises `UserError` if one label's tokens are a prefix of another's: the shorter one would
        always win.
        """
        tokens = [tuple(self.model.encode(label)) for label in labels]
        for i, one in enumerate(tokens):
            for j, other in enumerate(tokens):
                if i != j and other[: len(one)] == one:
                    problem = f"its tokens begin like those of {labels[j]!r} in {self.name}."
                    raise UserError("labels", labels[i], problem, "Choose other labels.")

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        if method == LABEL_GIVEN_TEXT:
            return self.score_criteria(rubric, method, subjects)
        scored = self._score_all([requests_for(rubric, method, self._cleaned(s)) for s in subjects])
        return [
            _answer(method, subject, scores)
            for subject, scores in zip(subjects, scored, strict=True)
        ]

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        if method == CHOICE:
            return self.compare_shown(rubric, method, pairs)
        sides = [
            Subject(p.pair_id, p.prompt, t, reference=p.reference)
            for p in pairs
            for t in (p.a, p.b)
        ]
        scores = iter(self._text_scores(rubric, method, sides))
        return [_comparison(pair, next(scores), next(scores)) for pair in pairs]

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        if method == CHOICE:
            return self.rank_shown(rubric, method, candidate_lists)
        texts = [
            Subject(x.list_id, x.prompt, t, reference=x.reference)
            for x in candidate_lists
            for t in x.texts
        ]
        scores = iter(self._text_scores(rubric, method, texts))
        return [_ranking(list(islice(scores, len(x.texts)))) for x in candidate_lists]

    def _text_scores(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[TextScore]:
        """Return one score per subject; an empty text has none."""
        if method == LABEL_GIVEN_TEXT:
            return [
                TextScore(None if a.value is None else logit(a.value), a.reason, a.usage)
                for a in self.score_criteria(rubric, method, subjects)
            ]
        asked = [s for s in subjects if s.text.strip()]
        scored = iter(
            self._score_all([requests_for(rubric, method, self._cleaned(s)) for s in asked])
        )
        return [
            _text_score(method, s.text, next(scored))
            if s.text.strip()
            else TextScore(None, "empty", TokenUsage())
            for s in subjects
        ]

    def _cleaned(self, subject: Subject) -> Subject:
        prompt, text, reference = map(self.clean, (subject.prompt, subject.text, subject.reference))
        return Subject(subject.subject_id, prompt, self.model.held(text), reference=reference)

    def _score_all(
        self, requests: Sequence[Sequence[tuple[str, str]]]
    ) -> list[list[ContinuationScore]]:
        """Score all requests in one call, so that they share batches."""
        scores = iter(self.model.score([pair for pairs in requests for pair in pairs]))
        return [[next(scores) for _ in pairs] for pairs in requests]

    @override
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        return self.model.complete(
            [self.clean(p) for p in prompts], max_new_tokens, temperature, seed
        )


def _usage(scores: Sequence[ContinuationScore]) -> TokenUsage:
    return TokenUsage(sum(s.num_context_tokens + s.num_tokens for s in scores))


def _raw(scores: Sequence[ContinuationScore]) -> str:
    return json.dumps([round(s.logp, 4) for s in scores])


def _labeled(question: Question, scores: Sequence[ContinuationScore]) -> LabelAnswer:
    usage = TokenUsage(
        max(s.num_context_tokens for s in scores) + sum(s.num_tokens for s in scores)
    )
    if not all(math.isfinite(s.logp) for s in scores):
        return LabelAnswer(None, "backend", usage, _raw(scores))
    raw = json.dumps(
        {label: round(s.logp, 4) for label, s in zip(question.labels, scores, strict=True)}
    )
    return LabelAnswer(tuple(s.logp for s in scores), "", usage, raw)


def _answer(method: str, subject: Subject, scores: Sequence[ContinuationScore]) -> LabelerAnswer:
    if not subject.text.strip():
        return LabelerAnswer(None, "empty")
    value, usage = score_value(method, subject.text, scores), _usage(scores)
    if not math.isfinite(value):
        return LabelerAnswer(None, "backend", usage, (), _raw(scores))
    return LabelerAnswer(value, "", usage, (value, 1 - value), _raw(scores))


def _text_score(method: str, text: str, scores: Sequence[ContinuationScore]) -> TextScore:
    nats = log_score(method, text, scores)
    if math.isfinite(nats):
        return TextScore(nats, "", _usage(scores))
    return TextScore(None, "backend", _usage(scores))


def _comparison(pair: Pair, first: TextScore, second: TextScore) -> Comparison:
    usage, raw = first.usage + second.usage, json.dumps([first.nats, second.nats])
    if not pair.a.strip() and not pair.b.strip():
        return Comparison(None, None, "empty", usage)
    if first.nats is None or second.nats is None:
        return _one_sided(pair, first.reason or second.reason, usage)
    odds = first.nats - second.nats
    return Comparison(odds, odds, "", usage, 0.0, raw)


def _one_sided(pair: Pair, reason: str, usage: TokenUsage) -> Comparison:
    """Compare a pair with one unscored side: an empty side loses, else the pair is unscored."""
    if reason != "empty":
        return Comparison(None, None, reason, usage)
    odds = EMPTY_LOSES if pair.a.strip() else -EMPTY_LOSES
    return Comparison(odds, odds, "", usage)


def _ranking(scores: Sequence[TextScore]) -> Ranking:
    usage = total_usage([s.usage for s in scores])
    reason = next((s.reason for s in scores if s.nats is None), "")
    if reason:
        return Ranking(None, reason, usage)
    values = [s.nats for s in scores if s.nats is not None]
    return Ranking(tuple(log_softmax(values).tolist()), "", usage, 0.0, json.dumps(values))
