"""The cache of verdicts: asked once, never wrong, failures kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.records import now
from infra.store import Store
from judges.config import ScriptedConfig
from judges.judgment.answers import LabelerAnswer, TokenUsage
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge
from judges.labelers.cache import RETRY_AFTER, CachedJudge
from judges.labelers.scripted import ScriptedJudge
from judges.rubrics import Rubric, load_rubric

RUBRIC, OTHER = load_rubric("relevance"), load_rubric("correctness")


class Counting(ScriptedJudge):
    """Says how often it was asked; fails on texts that say so."""

    def __init__(self) -> None:
        super().__init__(ScriptedConfig())
        self.asked: list[str] = []

    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        self.asked += [s.text for s in subjects]
        return [
            LabelerAnswer(None, s.text)
            if s.text in ("refusal", "backend")
            else LabelerAnswer(len(s.text) / 10, "", TokenUsage(3), (0.1, 0.9), "raw")
            for s in subjects
        ]

    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        self.asked += [p.a + p.b for p in pairs]
        return [
            Comparison(float(len(p.a)), -float(len(p.b)), "", TokenUsage(5, 1), 0.25, "said")
            for p in pairs
        ]


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def cached(store: Store, counting: Counting) -> Judge:
    return CachedJudge(counting, store.verdicts)


def subjects(*texts: str) -> list[Subject]:
    return [Subject(f"id {i} {text}", "q", text) for i, text in enumerate(texts)]


def test_the_same_question_is_asked_once_and_answered_in_order(
    cached: Judge, counting: Counting
) -> None:
    first = cached.score(RUBRIC, "few_shot", subjects("a", "bbb", "a"))
    assert [a.value for a in first] == [0.1, 0.3, 0.1]
    assert counting.asked == ["a", "bbb"]
    again = cached.score(RUBRIC, "few_shot", subjects("cc", "bbb", "a"))
    assert [a.value for a in again] == [0.2, 0.3, 0.1]
    assert again[1] == first[1]
    assert counting.asked == ["a", "bbb", "cc"]


def test_anything_that_could_change_an_answer_is_another_question(
    cached: Judge, counting: Counting
) -> None:
    cached.score(RUBRIC, "few_shot", subjects("a"))
    cached.score(OTHER, "few_shot", subjects("a"))
    cached.score(RUBRIC, "likelihood", subjects("a"))
    cached.score(RUBRIC, "few_shot", [Subject("x", "another prompt", "a")])
    assert counting.asked == ["a"] * 4
    cached.compare(RUBRIC, "choice", [Pair("1", "q", "a", "bb")])
    cached.compare(RUBRIC, "choice", [Pair("1", "q", "bb", "a")])
    (comparison,) = cached.compare(RUBRIC, "choice", [Pair("2", "q", "a", "bb")])
    assert counting.asked[4:] == ["abb", "bba"]
    assert comparison == Comparison(1.0, -2.0, "", TokenUsage(5, 1), 0.25, "said")


def test_a_ranking_is_kept_with_its_spread(store: Store) -> None:
    judge = CachedJudge(ScriptedJudge(ScriptedConfig(position_bias=1.0)), store.verdicts)
    listing = CandidateList("x", "q", ("a", "b", "c"), truth=1)
    (first,) = judge.rank(RUBRIC, "scripted", [listing])
    assert first.spread > 0
    (again,) = judge.rank(RUBRIC, "scripted", [replace(listing, list_id="y", truth=2)])
    assert again == first, "the texts decide, not the name"
    (other,) = judge.rank(
        RUBRIC, "scripted", [replace(listing, texts=("b", "a", "c"), list_id="z", truth=0)]
    )
    assert other != first


def test_another_labeler_shares_nothing(store: Store, counting: Counting) -> None:
    CachedJudge(counting, store.verdicts).score(RUBRIC, "few_shot", subjects("a"))
    other = Counting()
    other.name = "another"
    CachedJudge(other, store.verdicts).score(RUBRIC, "few_shot", subjects("a"))
    assert other.asked == ["a"]


def test_a_failure_keeps_its_reason_and_is_asked_again_later(
    store: Store, cached: Judge, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        (answer,) = cached.score(RUBRIC, "few_shot", subjects("refusal"))
        assert (answer.value, answer.reason) == (None, "refusal")
    assert counting.asked == ["refusal"]
    assert store.database.rows("SELECT count(*) FROM verdict") == [(0,)]
    later = now() + RETRY_AFTER + timedelta(seconds=1)
    monkeypatch.setattr("judges.labelers.cache.now", lambda: later)
    cached.score(RUBRIC, "few_shot", subjects("refusal"))
    assert counting.asked == ["refusal"] * 2


def test_a_server_that_failed_is_asked_again_at_once(cached: Judge, counting: Counting) -> None:
    for _ in range(2):
        cached.score(RUBRIC, "few_shot", subjects("backend"))
    assert counting.asked == ["backend"] * 2


def test_nothing_to_ask_is_nothing_asked(cached: Judge, counting: Counting) -> None:
    assert cached.score(RUBRIC, "few_shot", []) == []
    assert counting.asked == []
