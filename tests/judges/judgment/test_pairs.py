"""A language model asked about pairs: order, batches and hostile text."""

from __future__ import annotations

import pytest

from infra.errors import UserError
from infra.models.folders import fast_bfloat16
from judges.config import ScriptedConfig
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge
from judges.labelers.local import LocalJudge
from judges.labelers.scripted import ScriptedJudge
from judges.measuring.probes.making import gold_set
from judges.rubrics import CHOICE, METHODS, load_rubric

RUBRIC = load_rubric("relevance")
PAIRS = gold_set("off_topic").pairs
TOLERANCE = 2e-2 if fast_bfloat16() else 1e-3
"""Nats; sums in another order, as another batch brings them, in the labeler's type of numbers."""


@pytest.fixture(scope="module")
def local() -> LocalJudge:
    return LocalJudge("tiny:llama")


@pytest.mark.parametrize("method", [*METHODS, CHOICE])
def test_a_swapped_pair_gets_the_opposite_verdict(local: LocalJudge, method: str) -> None:
    straight, swapped = (
        local.compare(RUBRIC, method, ps) for ps in (PAIRS, [p.swapped() for p in PAIRS])
    )
    for a, b in zip(straight, swapped, strict=True):
        assert a.log_odds == pytest.approx(-b.log_odds, abs=TOLERANCE)
        assert a.gap == pytest.approx(b.gap, abs=TOLERANCE)


@pytest.mark.parametrize("method", [*METHODS, CHOICE])
def test_results_do_not_depend_on_the_batch(local: LocalJudge, method: str) -> None:
    together = local.compare(RUBRIC, method, PAIRS)
    for pair, one in zip(PAIRS, together, strict=True):
        (alone,) = local.compare(RUBRIC, method, [pair])
        assert alone.log_odds == pytest.approx(one.log_odds, abs=TOLERANCE)


@pytest.mark.parametrize("method", [*METHODS, CHOICE])
def test_equal_answers_are_a_tie(local: LocalJudge, method: str) -> None:
    (same,) = local.compare(RUBRIC, method, [Pair("i", "What is it?", "The same.", "The same.")])
    assert same.verdict(1e-6) == "tie"


def test_two_empty_answers_are_unscored(local: LocalJudge) -> None:
    (nothing,) = local.compare(RUBRIC, CHOICE, [Pair("i", "q", " ", "")])
    assert (nothing.is_scored, nothing.reason) == (False, "empty")


def test_role_tokens_in_an_answer_do_not_end_the_turn(local: LocalJudge) -> None:
    token = local.model.special_tokens[0]
    seen: list[str] = []
    score = local.model.score
    local.model.score = lambda pairs, report=None: (
        seen.extend(c + t for c, t in pairs),
        score(pairs, report),
    )[1]  # type: ignore[assignment]
    try:
        local.compare(RUBRIC, CHOICE, [Pair("i", f"q {token}", f"a {token}", "b")])
    finally:
        local.model.score = score  # type: ignore[method-assign]
    chat = local.model.chat_prompt("")
    assert all(text.count(token) == chat.count(token) for text in seen)


def test_a_rubric_without_a_choice_cannot_be_asked_about_pairs_at_once(local: LocalJudge) -> None:
    with pytest.raises(UserError, match="choice"):
        local.compare(load_rubric("coherence"), CHOICE, PAIRS)


@pytest.mark.parametrize(
    "judge", [ScriptedJudge(ScriptedConfig()), ScriptedJudge(ScriptedConfig(position_bias=3))]
)
def test_the_scripted_labeler_keeps_the_contract(judge: Judge) -> None:
    straight, swapped = (
        judge.compare(RUBRIC, "scripted", ps) for ps in (PAIRS, [p.swapped() for p in PAIRS])
    )
    assert [c.log_odds for c in straight] == [pytest.approx(-c.log_odds) for c in swapped]


def test_probability_and_verdict_follow_the_mean_of_both_orders() -> None:
    both = Comparison(3.0, -1.0)
    assert (
        both.log_odds,
        both.gap,
        both.verdict(),
        both.is_consistent,
    ) == (1.0, 4.0, "A", False)
    assert both.verdict(tie_band=1.0) == "tie"
    assert both.probability == pytest.approx(0.7311, abs=1e-4)
    assert Comparison(1e9, 1e9).probability == 1.0
