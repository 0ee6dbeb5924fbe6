"""Corrected win rates: what they cover, and where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.records.labeler import LabelerErrors
from judges.judgment.pairs import Comparison, Pair
from judges.measuring.win_rates import corrected_win_rate, count_errors

GOOD = LabelerErrors(200, 170, 200, 180)


def test_a_perfect_labelers_rate_is_what_it_says() -> None:
    win_rate = corrected_win_rate(30, 100, LabelerErrors(10_000, 10_000, 10_000, 10_000))
    assert win_rate.corrected is not None
    assert win_rate.corrected.value == pytest.approx(0.3)
    assert win_rate.corrected.low == pytest.approx(win_rate.raw.low, abs=0.02)


def test_errors_are_taken_out() -> None:
    """90% of wins and 20% of losses are called wins: 55 of 100 calls mean that half are wins."""
    win_rate = corrected_win_rate(55, 100, LabelerErrors(1000, 900, 1000, 800))
    assert win_rate.corrected is not None
    assert win_rate.corrected.value == pytest.approx(0.5)


@pytest.mark.parametrize(
    "errors",
    [
        LabelerErrors(50, 25, 50, 25),
        LabelerErrors(50, 10, 50, 30),
        LabelerErrors(0, 0, 50, 40),
        LabelerErrors(0, 0, 0, 0),
    ],
)
def test_a_labeler_that_guesses_gives_no_rate(errors: LabelerErrors) -> None:
    win_rate = corrected_win_rate(80, 100, errors)
    assert win_rate.corrected is None
    assert win_rate.reason


@pytest.mark.parametrize(
    ("truth", "sensitivity", "specificity"), [(0.5, 0.9, 0.8), (0.2, 0.75, 0.75), (0.7, 0.95, 0.7)]
)
def test_the_interval_covers_the_truth_in_repeated_experiments(
    truth: float, sensitivity: float, specificity: float
) -> None:
    dice = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(400):
        errors = LabelerErrors(
            80, int(dice.binomial(80, sensitivity)), 80, int(dice.binomial(80, specificity))
        )
        preferred_share = truth * sensitivity + (1 - truth) * (1 - specificity)
        win_rate = corrected_win_rate(int(dice.binomial(150, preferred_share)), 150, errors)
        if win_rate.corrected is not None:
            covered += win_rate.corrected.low <= truth <= win_rate.corrected.high
            naive += win_rate.raw.low <= truth <= win_rate.raw.high
    assert covered / 400 >= 0.925
    assert covered > naive


@given(st.integers(0, 60), st.integers(60, 90))
def test_a_rate_is_a_rate_and_lies_in_its_interval_or_beyond_its_ends(
    wins: int, number: int
) -> None:
    win_rate = corrected_win_rate(wins, number, GOOD)
    assert win_rate.corrected is not None
    assert 0 <= win_rate.corrected.low <= win_rate.corrected.high <= 1
    assert 0 <= win_rate.corrected.value <= 1


def test_errors_are_counted_for_each_side_of_the_pairs_that_are_decided() -> None:
    pairs = [
        Pair(str(i), "", "a", "b", truth) for i, truth in enumerate(("A", "A", "B", "B", "tie"))
    ]
    comparisons = [
        Comparison(1, 1),
        Comparison(None, None, "refusal"),
        Comparison(-1, -1),
        Comparison(1, 1),
        Comparison(1, 1),
    ]
    assert count_errors(pairs, comparisons) == LabelerErrors(1, 1, 2, 1)


def test_a_labeler_that_declines_and_is_else_right_gives_the_true_rate() -> None:
    """It declines 40% of pairs; of those that it decides, A wins 70%."""
    declined = Comparison(None, None, "refusal")
    pairs = [Pair(str(i), "", "a", "b", "A" if i % 2 else "B") for i in range(200)]
    right = [Comparison(1.0, 1.0) if p.truth == "A" else Comparison(-1.0, -1.0) for p in pairs]
    comparisons = [declined if i % 5 < 2 else c for i, c in enumerate(right)]
    win_rate = corrected_win_rate(84, 120, count_errors(pairs, comparisons))
    assert win_rate.corrected is not None
    assert win_rate.corrected.value == pytest.approx(0.7)
    assert 0.55 < win_rate.corrected.low < win_rate.corrected.high < 0.85
