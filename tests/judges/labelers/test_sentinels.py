"""Sentinels: a labeler that breaks after it was admitted is noticed, and one that does not is left
alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from judges.config import ScriptedConfig
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge
from judges.labelers.scripted import ScriptedJudge
from judges.labelers.sentinels import ITEMS_PER_CHECK, QUARANTINED, WatchedJudge
from judges.measuring.probes.making import KNOWN_ANSWER, built_in_material, probe_set
from judges.rubrics import Rubric, load_rubric

RUBRIC = load_rubric("relevance")


class Fickle(ScriptedJudge):
    """Honest, until it is broken in one of several methods."""

    def __init__(self, accuracy: float = 1.0, unscored: float = 0.0) -> None:
        super().__init__(ScriptedConfig(accuracy=accuracy, unscored_share=unscored))
        self.habit = ""
        self.asked = 0

    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        self.asked += len(subjects)
        return [self._say(rubric, s) for s in subjects]

    def _say(self, rubric: Rubric, subject: Subject) -> LabelerAnswer:
        answer = self._score_one(rubric, subject)
        if self.habit == "constant":
            return LabelerAnswer(0.7)
        if not subject.text.strip():
            return LabelerAnswer(None, "empty")
        if self.habit == "reversed" and answer.value is not None:
            return LabelerAnswer(1 - answer.value)
        if self.habit == "obeys" and ("grader" in subject.text or "evaluator" in subject.text):
            return LabelerAnswer(1.0)
        return answer


def batch(number: int, size: int = ITEMS_PER_CHECK) -> list[Subject]:
    return [Subject(f"batch {number} item {i}", "q", f"text {i}") for i in range(size)]


def quarantined(judge: Judge, batches: int) -> int:
    answers = [a for n in range(batches) for a in judge.score(RUBRIC, "scripted", batch(n))]
    return sum(a.reason == QUARANTINED for a in answers)


@pytest.mark.parametrize(("accuracy", "least"), [(0.8, 0.65), (1.0, 0.75)])
def test_a_labeler_as_good_as_it_was_measured_is_left_alone(accuracy: float, least: float) -> None:
    assert quarantined(WatchedJudge(Fickle(accuracy), {RUBRIC.id: {KNOWN_ANSWER: least}}), 30) == 0


@pytest.mark.parametrize(("habit", "least"), [("constant", 8), ("reversed", 5), ("obeys", 3)])
def test_a_labeler_that_breaks_is_not_used_from_then_on(habit: str, least: int) -> None:
    """The first batches after the break still profit from the ones before."""
    labeler = Fickle()
    judge = WatchedJudge(labeler, {RUBRIC.id: {KNOWN_ANSWER: 0.75}})
    assert quarantined(judge, 3) == 0
    labeler.habit = habit
    assert quarantined(judge, 12) >= least * ITEMS_PER_CHECK


def test_equal_texts_with_other_values_are_noticed() -> None:
    labeler = Fickle()
    judge = WatchedJudge(labeler, {RUBRIC.id: {KNOWN_ANSWER: 1.0}})
    values = iter([0.2] * ITEMS_PER_CHECK + [0.9, 0.1] * 3 + [0.8])
    labeler._say = lambda rubric, s: (
        LabelerAnswer(next(values)) if s.text else LabelerAnswer(None, "empty")
    )  # type: ignore[method-assign]
    assert {a.reason for a in judge.score(RUBRIC, "scripted", batch(0))} == {QUARANTINED}


def test_a_quarantined_answer_has_no_value() -> None:
    labeler = Fickle()
    labeler.habit = "constant"
    answers = WatchedJudge(labeler, {RUBRIC.id: {KNOWN_ANSWER: 1.0}}).score(
        RUBRIC, "scripted", batch(0)
    )
    assert len(answers) == ITEMS_PER_CHECK
    assert all(a.value is None for a in answers)


def test_failing_to_answer_now_and_then_is_no_breach() -> None:
    labeler = Fickle(unscored=0.1)
    pairs = probe_set(RUBRIC.probes[0], built_in_material()).deciding[:24]
    answers = labeler.score(RUBRIC, "scripted", [side for p in pairs for side in (p.good, p.bad)])
    measured = (
        sum(
            None not in (g.value, b.value) for g, b in zip(answers[::2], answers[1::2], strict=True)
        )
        / 24
    )
    assert 0.5 < measured < 1
    assert quarantined(WatchedJudge(labeler, {RUBRIC.id: {KNOWN_ANSWER: measured - 0.15}}), 30) == 0


def test_small_batches_are_checked_now_and_then_and_unmeasured_rubrics_never() -> None:
    labeler = Fickle()
    judge = WatchedJudge(labeler, {RUBRIC.id: {KNOWN_ANSWER: 1.0}})
    for n in range(ITEMS_PER_CHECK):
        judge.score(RUBRIC, "scripted", batch(n, size=1))
    assert labeler.asked == ITEMS_PER_CHECK + 8, "eight sentinel subjects with sixteen subjects"
    judge.score(load_rubric("correctness"), "scripted", batch(99))
    assert labeler.asked == 2 * ITEMS_PER_CHECK + 8


class FicklePairs(ScriptedJudge):
    """Honest about pairs, until it is broken in one of several methods."""

    habit = ""

    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        comparisons = [
            Comparison(0.0, 0.0) if p.a == p.b else c
            for p, c in zip(pairs, super().compare(rubric, method, pairs), strict=True)
        ]
        if self.habit == "first":
            return [Comparison(3.0, 3.0) for _ in pairs]
        if self.habit == "reversed":
            return [Comparison(-c.log_odds, -c.log_odds) for c in comparisons]
        return comparisons


@pytest.mark.parametrize(("habit", "least"), [("", 0), ("first", 12), ("reversed", 8)])
def test_a_labeler_that_breaks_at_pairs_is_not_used_from_then_on(habit: str, least: int) -> None:
    labeler = FicklePairs(ScriptedConfig(accuracy=1.0))
    judge = WatchedJudge(labeler, {RUBRIC.id: {KNOWN_ANSWER: 0.75}})
    labeler.habit = habit
    comparisons = [
        c
        for n in range(12)
        for c in judge.compare(
            RUBRIC,
            "scripted",
            [Pair(f"{n}/{i}", "q", f"a {i}", f"b {i}", "A") for i in range(ITEMS_PER_CHECK)],
        )
    ]
    assert sum(c.reason == QUARANTINED for c in comparisons) >= least * ITEMS_PER_CHECK
    assert habit or all(c.is_scored for c in comparisons)
