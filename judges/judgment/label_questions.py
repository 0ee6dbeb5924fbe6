"""Judging by questions with fixed labels, for labelers that return probabilities of labels."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice

from judges.judgment.answers import LabelAnswer, LabelerAnswer, total_usage
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import LETTERS, CandidateList, Ranking, merge_orders, shown_orders
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge
from judges.judgment.questions import Material, Question, QuestionWriter
from judges.rubrics import Rubric


def _reason(answers: Sequence[LabelAnswer]) -> str:
    """Return the first reason for a missing answer, or ""."""
    return next((a.reason for a in answers if a.logps is None), "")


def _raw(answers: Sequence[LabelAnswer]) -> str:
    return json.dumps([a.raw for a in answers])


class LabelQuestionJudge(Judge):
    """A labeler that answers label questions. A backend implements `score_labels` and `clean`."""

    seed: int = 0

    @abstractmethod
    def score_labels(self, method: str, questions: Sequence[Question]) -> list[LabelAnswer]:
        """Return the log-probabilities of each question's labels, in order. A question that fails
        does not affect the others.
        """

    @abstractmethod
    def clean(self, text: str) -> str:
        """Return untrusted text without invisible characters, role tokens and end-of-turn
        tokens.
        """

    def _ask(self, method: str, questions: Sequence[Question]) -> list[LabelAnswer]:
        """Like `score_labels`, but injected questions are not asked."""
        answers = iter(self.score_labels(method, [q for q in questions if not q.is_injected]))
        return [
            LabelAnswer(None, "injected") if q.is_injected else next(answers) for q in questions
        ]

    def _material(
        self, prompt: str, text: str, other: str, reference: str, texts: Sequence[str] = ()
    ) -> Material:
        cleaned = tuple(self.clean(t) for t in texts)
        return Material(
            self.clean(prompt), self.clean(text), self.clean(other), self.clean(reference), cleaned
        )

    def score_criteria(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        """Ask every criterion about every subject. A subject is unscored if one of its criteria has
        no answer.
        """
        writer = QuestionWriter(rubric, self.seed)
        asked = [s for s in subjects if s.text.strip()]
        questions = [
            writer.write(
                s.subject_id,
                rubric.template,
                c.labels,
                self._material(s.prompt, s.text, "", s.reference),
                c.question,
            )
            for s in asked
            for c in rubric.criteria
        ]
        answers = iter(self._ask(method, questions))
        return [
            _value_answer(rubric, list(islice(answers, len(rubric.criteria))))
            if s.text.strip()
            else LabelerAnswer(None, "empty")
            for s in subjects
        ]

    def compare_shown(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """Compare each pair with both sides in one question, in both orders."""
        choice, writer = rubric.pair_question(), QuestionWriter(rubric, self.seed)
        asked = [p for p in pairs if p.a.strip() or p.b.strip()]
        questions = [
            writer.write(
                f"{p.pair_id}/{order}",
                choice.template,
                choice.labels,
                self._material(p.prompt, one, other, p.reference),
            )
            for p in asked
            for order, (one, other) in enumerate([(p.a, p.b), (p.b, p.a)])
        ]
        answers = iter(self._ask(method, questions))
        return [
            _comparison(next(answers), next(answers))
            if p.a.strip() or p.b.strip()
            else Comparison(None, None, "empty")
            for p in pairs
        ]

    def rank_shown(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        """Rank each list with all texts in one question, in as many orders as there are texts."""
        question, writer = rubric.list_question(), QuestionWriter(rubric, self.seed)
        shown = [shown_orders(candidates, self.seed) for candidates in candidate_lists]
        questions = [
            writer.write(
                f"{candidates.list_id}/{turn}",
                question.template,
                LETTERS[: len(order)],
                self._material(
                    candidates.prompt,
                    "",
                    "",
                    candidates.reference,
                    [candidates.texts[i] for i in order],
                ),
            )
            for candidates, turns in zip(candidate_lists, shown, strict=True)
            for turn, order in enumerate(turns)
        ]
        answers = iter(self._ask(method, questions))
        return [_ranking(turns, list(islice(answers, len(turns)))) for turns in shown]


def _value_answer(rubric: Rubric, answers: list[LabelAnswer]) -> LabelerAnswer:
    """Return a subject's value from the answers to all criteria."""
    usage, reason = total_usage([a.usage for a in answers]), _reason(answers)
    if reason:
        return LabelerAnswer(None, reason, usage, (), _raw(answers))
    shares = [a.distribution() for a in answers]
    value = rubric.weighted_value(shares)
    distribution = shares[0] if len(shares) == 1 else (value, 1 - value)
    return LabelerAnswer(value, "", usage, distribution, _raw(answers))


def _comparison(straight: LabelAnswer, swapped: LabelAnswer) -> Comparison:
    """Return the comparison from the answers to both orders of a pair."""
    both = [straight, swapped]
    usage, raw = total_usage([a.usage for a in both]), _raw(both)
    if straight.logps is None or swapped.logps is None:
        return Comparison(None, None, _reason(both), usage, raw=raw)
    ties = [a.distribution()[2] for a in both if len(a.distribution()) > 2]
    return Comparison(
        straight.logps[0] - straight.logps[1],
        swapped.logps[1] - swapped.logps[0],
        "",
        usage,
        sum(ties) / len(ties) if ties else 0.0,
        raw,
    )


def _ranking(shown: Sequence[tuple[int, ...]], answers: Sequence[LabelAnswer]) -> Ranking:
    usage, reason = total_usage([a.usage for a in answers]), _reason(answers)
    if reason:
        return Ranking(None, reason, usage, raw=_raw(answers))
    return merge_orders(shown, [a.logps or () for a in answers], usage, _raw(answers))
