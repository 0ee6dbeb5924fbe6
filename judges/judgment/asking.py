"""Modes made of label questions: for a labeler that can say how likely each label of a menu is."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice

from judges.judgment.answers import Answer, LabelAnswer, total_usage
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import LETTERS, Listing, Ranking, merged, orders
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge
from judges.judgment.questions import Material, Poser, Question
from judges.rubrics import Rubric


def _reason(answers: Sequence[LabelAnswer]) -> str:
    """Why not all of the answers have labels; "" where they have."""
    return next((a.reason for a in answers if a.logps is None), "")


def _raw(answers: Sequence[LabelAnswer]) -> str:
    return json.dumps([a.raw for a in answers])


class AsksLabels(Judge):
    """See `Judge`. A backend brings `score_labels` and `clean`."""

    seed: int = 0

    @abstractmethod
    def score_labels(self, way: str, questions: Sequence[Question]) -> list[LabelAnswer]:
        """Log-probabilities of each question's labels, in order; one bad question does not end the
        others.
        """

    @abstractmethod
    def clean(self, text: str) -> str:
        """Untrusted text as a reader would see it, in which no role or end of turn can be read."""

    def _ask(self, way: str, questions: Sequence[Question]) -> list[LabelAnswer]:
        """As `score_labels`; what carries its own fence is not asked."""
        answers = iter(self.score_labels(way, [q for q in questions if not q.is_injected]))
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

    def score_criteria(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """Every criterion asked of every subject; one criterion without an answer leaves the
        subject unscored.
        """
        poser = Poser(rubric, self.seed)
        asked = [s for s in subjects if s.text.strip()]
        questions = [
            poser.pose(
                s.subject_id,
                rubric.template,
                c.labels,
                self._material(s.prompt, s.text, "", s.reference),
                c.question,
            )
            for s in asked
            for c in rubric.criteria
        ]
        answers = iter(self._ask(way, questions))
        return [
            self._valued(rubric, list(islice(answers, len(rubric.criteria))))
            if s.text.strip()
            else Answer(None, "empty")
            for s in subjects
        ]

    def _valued(self, rubric: Rubric, answers: list[LabelAnswer]) -> Answer:
        usage, reason = total_usage([a.usage for a in answers]), _reason(answers)
        if reason:
            return Answer(None, reason, usage, (), _raw(answers))
        shares = [a.distribution() for a in answers]
        value = rubric.value_of(shares)
        return Answer(
            value, "", usage, shares[0] if len(shares) == 1 else (value, 1 - value), _raw(answers)
        )

    def choose(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """Both sides shown at once, in both orders."""
        choice, poser = rubric.asked_about_pairs(), Poser(rubric, self.seed)
        asked = [p for p in pairs if p.a.strip() or p.b.strip()]
        questions = [
            poser.pose(
                f"{p.pair_id}/{place}",
                choice.template,
                choice.labels,
                self._material(p.prompt, one, other, p.reference),
            )
            for p in asked
            for place, (one, other) in enumerate([(p.a, p.b), (p.b, p.a)])
        ]
        answers = iter(self._ask(way, questions))
        return [
            _compared(next(answers), next(answers))
            if p.a.strip() or p.b.strip()
            else Comparison(None, None, "empty")
            for p in pairs
        ]

    def best_of(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """All texts shown at once, in as many orders."""
        question, poser = rubric.asked_about_lists(), Poser(rubric, self.seed)
        shown = [orders(listing, self.seed) for listing in listings]
        questions = [
            poser.pose(
                f"{listing.listing_id}/{turn}",
                question.template,
                LETTERS[: len(order)],
                self._material(
                    listing.prompt, "", "", listing.reference, [listing.texts[i] for i in order]
                ),
            )
            for listing, turns in zip(listings, shown, strict=True)
            for turn, order in enumerate(turns)
        ]
        answers = iter(self._ask(way, questions))
        return [_ranked(turns, list(islice(answers, len(turns)))) for turns in shown]


def _compared(straight: LabelAnswer, swapped: LabelAnswer) -> Comparison:
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


def _ranked(shown: Sequence[tuple[int, ...]], answers: Sequence[LabelAnswer]) -> Ranking:
    usage, reason = total_usage([a.usage for a in answers]), _reason(answers)
    if reason:
        return Ranking(None, reason, usage, raw=_raw(answers))
    return merged(shown, [a.logps or () for a in answers], usage, _raw(answers))
