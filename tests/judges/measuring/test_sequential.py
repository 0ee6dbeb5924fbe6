"""The sequential test of a labeler: known answers, its level, its power, and its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from judges.measuring.sequential import (
    LARGEST_SHARE,
    NUM_BETS,
    accuracy_bounds,
    log_capital_path,
    sequential_test,
)

MAX_PAIRS = 96


def runs(accuracy: float, limit: float, alpha: float, number: int = 2000) -> list[str]:
    rng = np.random.default_rng(1)
    draws = (rng.random((number, MAX_PAIRS)) < accuracy).astype(float)
    return [sequential_test(row, limit, alpha).decision for row in draws]


def test_capital_is_the_mean_over_the_bets() -> None:
    bets = [LARGEST_SHARE / 0.5 * (j + 1) / NUM_BETS for j in range(NUM_BETS)]
    expected = np.mean([(1 + b * 0.5) * (1 + b * 0.5) * (1 - b * 0.5) for b in bets])
    assert math.exp(log_capital_path(np.array([1.0, 1.0, 0.0]), 0.5)[-1]) == pytest.approx(expected)


@pytest.mark.parametrize(("limit", "alpha"), [(0.5, 0.05), (0.5, 0.05 / 9), (0.6, 0.05)])
def test_a_coin_at_the_limit_passes_no_more_often_than_the_level(
    limit: float, alpha: float
) -> None:
    passed = runs(limit, limit, alpha).count("pass")
    assert binomtest(passed, 2000, alpha, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("num_rubrics", [1, 4, 9])
def test_a_labeler_right_on_three_of_four_pairs_is_mostly_admitted(num_rubrics: int) -> None:
    results = runs(0.75, 0.5, 0.05 / num_rubrics)
    assert results.count("pass") >= 0.9 * len(results)
    assert results.count("fail") <= 0.06 * len(results)


def test_plain_cases_stop_early() -> None:
    assert sequential_test([1.0] * MAX_PAIRS, 0.5, 0.05 / 4).num_pairs <= 10
    assert sequential_test([1.0, 0.0] * 48, 0.5, 0.05).decision == "fail"
    assert sequential_test([1.0, 0.0] * 48, 0.5, 0.05).num_pairs <= 40
    assert sequential_test([0.0] * MAX_PAIRS, 0.5, 0.05).num_pairs <= 8
    assert sequential_test([0.5] * MAX_PAIRS, 0.5, 0.05).decision == "fail", "ties prove nothing"
    assert sequential_test([], 0.5, 0.05) == sequential_test((), 0.6, 0.01)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=60))
def test_bounds_hold_the_mean_and_turn_with_the_outcomes(outcomes: list[float]) -> None:
    values = np.array(outcomes)
    low, high = accuracy_bounds(values)
    mean = values.mean() if outcomes else 0.5
    assert 0.0 <= low <= mean + 1e-6
    assert mean - 1e-6 <= high <= 1.0
    turned = accuracy_bounds(1.0 - values)
    assert turned == pytest.approx((1.0 - high, 1.0 - low), abs=1e-6)


def test_bounds_hold_at_any_time() -> None:
    rng, missed = np.random.default_rng(2), 0
    for _ in range(200):
        outcomes = (rng.random(64) < 0.7).astype(float)
        missed += any(accuracy_bounds(outcomes[:n])[0] > 0.7 for n in range(4, 65, 4))
    assert binomtest(missed, 200, 0.05, alternative="greater").pvalue > 1e-3
