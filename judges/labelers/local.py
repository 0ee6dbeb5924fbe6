"""A language model in this process as a labeler."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import islice

from scipy.special import log_softmax

from infra.artifacts import folder_digest
from infra.errors import UserError
from infra.models.folders import resolve_model
from infra.models.language_model import CompletedText, ContinuationScore, LanguageModel
from judges.judgment.answers import Answer, LabelAnswer, Usage, logit, total_usage
from judges.judgment.asking import AsksLabels
from judges.judgment.elicitation import Subject, evidence_of, requests_for, value_of
from judges.judgment.listwise import Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.questions import Question, visible
from judges.rubrics import CHOICE, LABELED, WAYS, Rubric

Evidence = tuple[float | None, str, Usage]
"""Nats (None with a reason), and what they cost."""


class LocalJudge(AsksLabels):
    """A transformers model in this process."""

    name = ""
    ways = WAYS
    values_sides = True

    def __init__(self, reference: str, seed: int = 0) -> None:
        folder = resolve_model(reference, "judge.model")
        self.model = LanguageModel(folder, "judge.model")
        self.name = f"{reference}@{folder_digest(folder)[:12]}"
        self.seed = seed

    def clean(self, text: str) -> str:
        """See `AsksLabels`: special tokens of the model are taken apart."""
        return self.model.neutralise(visible(text))

    def score_labels(self, way: str, questions: Sequence[Question]) -> list[LabelAnswer]:  # noqa: ARG002
        """See `AsksLabels`: teacher-forced log-probabilities behind the chat template, summed over
        a label's tokens.
        """
        for labels in {q.labels for q in questions}:
            self._check_tokens(labels)
        scored = self._score_all(
            [[(self.model.chat_prompt(q.content), lab) for lab in q.labels] for q in questions]
        )
        return [
            _labeled(question, scores) for question, scores in zip(questions, scored, strict=True)
        ]

    def _check_tokens(self, labels: Sequence[str]) -> None:
        """Raises `UserError` where one label's tokens begin another's, which would win by being
        shorter.
        """
        tokens = [tuple(self.model.encode(label)) for label in labels]
        for i, one in enumerate(tokens):
            for j, other in enumerate(tokens):
                if i != j and other[: len(one)] == one:
                    problem = f"to {self.name} it begins like {labels[j]!r}."
                    raise UserError("labels", labels[i], problem, "Choose other labels.")

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`. Untrusted text is neutralised before it enters a template."""
        if way == LABELED:
            return self.score_criteria(rubric, way, subjects)
        scored = self._score_all([requests_for(rubric, way, self._cleaned(s)) for s in subjects])
        return [
            _answer(way, subject, scores) for subject, scores in zip(subjects, scored, strict=True)
        ]

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`. Both orders are asked by `choice`; other ways do not look at places."""
        if way == CHOICE:
            return self.choose(rubric, way, pairs)
        sides = [
            Subject(p.pair_id, p.prompt, t, reference=p.reference)
            for p in pairs
            for t in (p.a, p.b)
        ]
        found = iter(self._evidence(rubric, way, sides))
        return [_difference(pair, next(found), next(found)) for pair in pairs]

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge`, as in `compare`."""
        if way == CHOICE:
            return self.best_of(rubric, way, listings)
        texts = [
            Subject(x.listing_id, x.prompt, t, reference=x.reference)
            for x in listings
            for t in x.texts
        ]
        found = iter(self._evidence(rubric, way, texts))
        return [_ranked(list(islice(found, len(listing.texts)))) for listing in listings]

    def _evidence(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Evidence]:
        """Evidence for each text; an empty one has none."""
        if way == LABELED:
            answers = self.score_criteria(rubric, way, subjects)
            return [
                (None if a.value is None else logit(a.value), a.reason, a.usage) for a in answers
            ]
        asked = [s for s in subjects if s.text.strip()]
        scored = iter(self._score_all([requests_for(rubric, way, self._cleaned(s)) for s in asked]))
        return [
            _finite(way, next(scored)) if s.text.strip() else (None, "empty", Usage())
            for s in subjects
        ]

    def _cleaned(self, subject: Subject) -> Subject:
        prompt, text, reference = map(self.clean, (subject.prompt, subject.text, subject.reference))
        return Subject(subject.subject_id, prompt, text, reference=reference)

    def _score_all(
        self, requests: Sequence[Sequence[tuple[str, str]]]
    ) -> list[list[ContinuationScore]]:
        """Scores of lists of requests, in one go so that all share batches."""
        scores = iter(self.model.score([pair for pairs in requests for pair in pairs]))
        return [[next(scores) for _ in pairs] for pairs in requests]

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge`."""
        return self.model.complete(
            [self.clean(p) for p in prompts], max_new_tokens, temperature, seed
        )


def _usage(scores: Sequence[ContinuationScore]) -> Usage:
    return Usage(sum(s.num_context_tokens + s.num_tokens for s in scores))


def _raw(scores: Sequence[ContinuationScore]) -> str:
    return json.dumps([round(s.logp, 4) for s in scores])


def _labeled(question: Question, scores: Sequence[ContinuationScore]) -> LabelAnswer:
    usage = Usage(max(s.num_context_tokens for s in scores) + sum(s.num_tokens for s in scores))
    if not all(math.isfinite(s.logp) for s in scores):
        return LabelAnswer(None, "backend", usage, _raw(scores))
    raw = json.dumps(
        {label: round(s.logp, 4) for label, s in zip(question.labels, scores, strict=True)}
    )
    return LabelAnswer(tuple(s.logp for s in scores), "", usage, raw)


def _answer(way: str, subject: Subject, scores: Sequence[ContinuationScore]) -> Answer:
    if not subject.text.strip():
        return Answer(None, "empty")
    value, usage = value_of(way, scores), _usage(scores)
    if not math.isfinite(value):
        return Answer(None, "backend", usage, (), _raw(scores))
    return Answer(value, "", usage, (value, 1 - value), _raw(scores))


def _finite(way: str, scores: Sequence[ContinuationScore]) -> Evidence:
    evidence = evidence_of(way, scores)
    return (
        (evidence, "", _usage(scores))
        if math.isfinite(evidence)
        else (None, "backend", _usage(scores))
    )


def _difference(pair: Pair, first: Evidence, second: Evidence) -> Comparison:
    usage, raw = first[2] + second[2], json.dumps([first[0], second[0]])
    if not pair.a.strip() and not pair.b.strip():
        return Comparison(None, None, "empty", usage)
    if first[0] is None or second[0] is None:
        return _one_sided(pair, first[1] or second[1], usage)
    return Comparison(first[0] - second[0], first[0] - second[0], "", usage, 0.0, raw)


def _one_sided(pair: Pair, reason: str, usage: Usage) -> Comparison:
    """Where one side cannot be valued: an empty side loses, anything else leaves the pair unscored."""
    if reason != "empty":
        return Comparison(None, None, reason, usage)
    odds = EMPTY_LOSES if pair.a.strip() else -EMPTY_LOSES
    return Comparison(odds, odds, "", usage)


EMPTY_LOSES = 20.0
"""Log-odds (nats) of any text against none at all."""


def _ranked(evidence: Sequence[Evidence]) -> Ranking:
    usage = total_usage([e[2] for e in evidence])
    reason = next((e[1] for e in evidence if e[0] is None), "")
    if reason:
        return Ranking(None, reason, usage)
    values = [e[0] for e in evidence if e[0] is not None]
    return Ranking(tuple(log_softmax(values).tolist()), "", usage, 0.0, json.dumps(values))
