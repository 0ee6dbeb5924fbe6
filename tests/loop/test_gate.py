from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from loop.gate import GateRule, attempt_alpha, clipped_gains, judge_gains, log_evidence_path

NUM_STREAMS = 2000


def crossing_share(streams: np.ndarray, rule: GateRule, alpha: float) -> float:
    paths = log_evidence_path(streams - rule.delta0, rule.delta0, rule.prior_second_moment)
    return float((paths >= -np.log(alpha)).any(axis=1).mean())


def assert_within_bound(share: float, alpha: float) -> None:
    """The count of false promotions is no larger than a binomial with chance alpha explains."""
    count = round(share * NUM_STREAMS)
    assert binomtest(count, NUM_STREAMS, alpha, alternative="greater").pvalue > 1e-3, share


NULLS = {
    "normal": lambda rng: np.clip(rng.normal(0, 0.5, (NUM_STREAMS, 300)), -1, 1),
    "tiny": lambda rng: rng.normal(0, 0.001, (NUM_STREAMS, 300)),
    "coin": lambda rng: rng.choice([-1.0, 1.0], (NUM_STREAMS, 300)),
    "skewed": lambda rng: np.where(rng.random((NUM_STREAMS, 300)) < 0.05, -0.95, 0.05),
    "lucky": lambda rng: np.where(rng.random((NUM_STREAMS, 300)) < 0.05, 0.95, -0.05),
    "zero": lambda _: np.zeros((NUM_STREAMS, 300)),
}


@pytest.mark.parametrize("null", sorted(NULLS))
@pytest.mark.parametrize("alpha", [0.05, 0.025])
def test_false_promotions_stay_within_the_bound_with_optional_stopping(null: str, alpha: float) -> None:
    streams = NULLS[null](np.random.default_rng(1))
    assert_within_bound(crossing_share(streams, GateRule(), alpha), alpha)


def test_the_bound_holds_with_a_smallest_gain() -> None:
    rule = GateRule(delta0=0.1)
    streams = np.clip(np.random.default_rng(2).normal(0.1, 0.3, (NUM_STREAMS, 300)), -1, 1)
    streams -= streams.mean() - 0.1
    assert_within_bound(crossing_share(np.clip(streams, -1, 1), rule, 0.05), 0.05)


def test_a_gain_twice_the_clip_is_found_in_the_documents_of_the_quickstart() -> None:
    """Gain 0.1 bits per byte, deviation 0.1, clip 0.2: at least 90% power in 40 documents at attempt 1."""
    gains = np.clip(np.random.default_rng(3).normal(0.1, 0.1, (NUM_STREAMS, 40)) / 0.2, -1, 1)
    assert crossing_share(gains, GateRule(), attempt_alpha(0.05, 1)) > 0.9


def test_evidence_equals_a_plain_loop() -> None:
    x = np.random.default_rng(4).uniform(-1, 1, 50)
    log_e, total, squares = 0.0, 0.0, 0.0
    for value, log_path in zip(x, log_evidence_path(x, 0.0, 0.1), strict=True):
        bet = min(max(total / (squares + 10 * 0.1), 0.0), 0.5)
        log_e += math.log(1 + bet * value)
        assert log_path == pytest.approx(log_e)
        total, squares = total + value, squares + value**2


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(0, 0.9), st.floats(0.001, 1))
def test_wealth_is_never_lost_altogether(values: list[float], delta0: float, prior: float) -> None:
    x = np.array(values) - delta0
    path = log_evidence_path(x, delta0, prior)
    assert np.isfinite(path).all()


def test_the_first_bet_is_nothing() -> None:
    assert log_evidence_path(np.array([1.0]), 0.0, 0.1)[0] == 0.0


def test_levels_of_all_attempts_sum_to_alpha() -> None:
    levels = [attempt_alpha(0.05, k) for k in range(1, 100_000)]
    assert levels[0] == 0.025
    assert sum(levels) < 0.05
    assert sum(levels) == pytest.approx(0.05, rel=1e-4)


def test_clear_gain_is_promoted_and_the_crossing_is_where_it_stopped() -> None:
    verdict = judge_gains(np.ones(40), GateRule(), attempt=1)
    assert verdict.outcome == "promote"
    assert verdict.log_evidence >= verdict.log_threshold
    before = judge_gains(np.ones(verdict.num_units - 1), GateRule(), attempt=1)
    assert before.outcome == "hold"
    assert judge_gains(np.ones(40), GateRule(), attempt=9).num_units > verdict.num_units


def test_later_documents_do_not_undo_a_crossing() -> None:
    gains = np.concatenate([np.ones(20), -np.ones(200)])
    assert judge_gains(gains, GateRule(), attempt=1).outcome == "promote"


def test_clear_loss_is_rejected_and_too_little_is_held() -> None:
    assert judge_gains(-np.ones(40), GateRule(), attempt=1).outcome == "reject"
    assert judge_gains(np.ones(3), GateRule(), attempt=1).outcome == "hold"
    assert judge_gains(np.zeros(40), GateRule(), attempt=1).outcome == "hold"
    assert judge_gains(np.array([]), GateRule(), attempt=1).num_units == 0


def test_fewer_bits_is_a_gain_and_it_is_clipped() -> None:
    gains = clipped_gains(np.array([1.0, 1.0, 0.0]), np.array([1.1, 0.0, 5.0]), 0.2)
    assert gains == pytest.approx([0.5, -1.0, 1.0])
