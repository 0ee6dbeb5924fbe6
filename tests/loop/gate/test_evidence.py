from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from loop.gate.evidence import GateRule, clipped_gains, judge_gains, log_evidence_path, unit_means

NUM_STREAMS = 2000


def crossing_share(streams: np.ndarray, rule: GateRule, alpha: float) -> float:
    paths = log_evidence_path(streams - rule.bound, rule.bound, rule.prior_second_moment)
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
def test_false_promotions_stay_within_the_bound_with_optional_stopping(
    null: str, alpha: float
) -> None:
    streams = NULLS[null](np.random.default_rng(1))
    assert_within_bound(crossing_share(streams, GateRule(), alpha), alpha)


def test_the_bound_holds_with_a_smallest_gain() -> None:
    rule = GateRule(bound=0.1)
    streams = np.clip(np.random.default_rng(2).normal(0.1, 0.3, (NUM_STREAMS, 300)), -1, 1)
    streams -= streams.mean() - 0.1
    assert_within_bound(crossing_share(np.clip(streams, -1, 1), rule, 0.05), 0.05)


def test_a_gain_twice_the_clip_is_found_in_the_documents_of_the_quickstart() -> None:
    """Gain 0.1 bits per byte, deviation 0.1, clip 0.2: at least 90% power in 40 documents at
    attempt 1."""
    gains = np.clip(np.random.default_rng(3).normal(0.1, 0.1, (NUM_STREAMS, 40)) / 0.2, -1, 1)
    assert crossing_share(gains, GateRule(), 0.025) > 0.9


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


FIRST = math.log(40)
"""What log E must reach at the first attempt of a run with alpha 0.05."""


def test_clear_gain_passes_and_the_crossing_is_where_it_stopped() -> None:
    verdict = judge_gains(np.ones(40), GateRule(), FIRST)
    assert verdict.outcome == "pass"
    assert verdict.log_evidence >= verdict.log_threshold
    before = judge_gains(np.ones(verdict.num_units - 1), GateRule(), FIRST)
    assert before.outcome == "open"
    assert judge_gains(np.ones(40), GateRule(), 2 * FIRST).num_units > verdict.num_units


def test_later_units_do_not_undo_a_crossing() -> None:
    gains = np.concatenate([np.ones(20), -np.ones(200)])
    assert judge_gains(gains, GateRule(), FIRST).outcome == "pass"


def test_clear_loss_fails_and_too_little_is_open() -> None:
    assert judge_gains(-np.ones(40), GateRule(), FIRST).outcome == "fail"
    assert judge_gains(np.ones(3), GateRule(), FIRST).outcome == "open"
    assert judge_gains(np.zeros(40), GateRule(), FIRST).outcome == "open"
    assert judge_gains(np.array([]), GateRule(), FIRST).num_units == 0


def test_a_guard_passes_what_is_equal_and_fails_what_is_worse_than_its_margin() -> None:
    guard = GateRule(bound=-0.25)
    assert judge_gains(np.zeros(100), guard, FIRST).outcome == "pass"
    assert judge_gains(np.full(200, -0.5), guard, FIRST).outcome == "fail"
    assert judge_gains(np.full(200, -0.25), guard, FIRST).outcome == "open", "just at the margin"


@pytest.mark.parametrize("bound", [-0.5, -0.1, 0.0, 0.3])
def test_bounds_hold_for_guards_and_for_rejections(bound: float) -> None:
    """At its null a guard passes, and a rejection strikes, no more often than its level allows."""
    rng = np.random.default_rng(5)
    spread = 1 - abs(bound)
    streams = bound + spread * rng.choice([-1.0, 1.0], (NUM_STREAMS, 300))
    assert_within_bound(crossing_share(streams, GateRule(bound=bound), 0.05), 0.05)
    worse = log_evidence_path(bound - streams, -bound, 0.1)
    assert_within_bound(float((worse >= -np.log(0.05)).any(axis=1).mean()), 0.05)


GAINS = [
    0.31,
    -0.12,
    0.55,
    0.07,
    -0.4,
    0.9,
    0.22,
    0.18,
    -0.05,
    0.61,
    0.34,
    -0.77,
    0.48,
    0.13,
    0.29,
    1.0,
    -1.0,
    0.41,
    0.36,
    0.02,
]


@pytest.mark.parametrize(
    ("bound", "golden"),
    [
        (0.0, [-0.133336203942, 0.508230255357, 0.592591808776, 0.655126236077]),
        (0.1, [-0.227705224307, -0.063280802568, -0.326924431205, -0.64757131085]),
        (-0.05, [-0.022227298933, 0.848285504388, 1.059817346502, 1.255002477925]),
        (-0.3, [0.628143570821, 2.52291360807, 3.552707022376, 4.518640889457]),
    ],
)
def test_evidence_equals_confseq(bound: float, golden: list[float]) -> None:
    """`betting_mart` of confseq 0.0.11 (its authors' reference) on (d + 1) / 2 with mean (bound +
    1) / 2 and our bets, after 5, 10, 15 and 20 units. Its truncation at half of 1 / m is ours at 1
    / (2 (1 + bound))."""
    path = log_evidence_path(np.array(GAINS) - bound, bound, 0.1)
    assert path[[4, 9, 14, 19]] == pytest.approx(golden, abs=1e-11)


def test_units_are_means_of_their_items_in_the_order_they_came() -> None:
    gains = np.array([1.0, 0.5, 0.0, -1.0, 0.25])
    assert unit_means(gains, ["b", "a", "b", "b", "c"]) == pytest.approx([0.0, 0.5, 0.25])
    assert unit_means(np.zeros(0), []).size == 0


def clustered(seed: int) -> tuple[np.ndarray, list[int]]:
    """No gain on average, but the documents of a domain go up or down together: 60 domains of 8."""
    rng = np.random.default_rng(seed)
    effect = rng.choice([-0.6, 0.6], (NUM_STREAMS, 60))
    noise = rng.uniform(-0.3, 0.3, (NUM_STREAMS, 60, 8))
    return effect[..., None] + noise, [domain for domain in range(60) for _ in range(8)]


def test_clustered_units_keep_the_bound_where_a_test_on_documents_breaks_it() -> None:
    streams, _ = clustered(6)
    by_document = streams.reshape(NUM_STREAMS, -1)
    naive = crossing_share(by_document, GateRule(), 0.05)
    assert naive > 0.15, (
        "documents of a domain, one after another, look like evidence that they are not"
    )
    assert_within_bound(crossing_share(streams.mean(axis=2), GateRule(), 0.05), 0.05)


def test_unit_means_are_what_the_bound_is_kept_with() -> None:
    streams, units = clustered(7)
    assert unit_means(streams[0].reshape(-1), units) == pytest.approx(streams[0].mean(axis=1))


def test_fewer_bits_is_a_gain_and_it_is_clipped() -> None:
    gains = clipped_gains(-np.array([1.0, 1.0, 0.0]), -np.array([1.1, 0.0, 5.0]), 0.2)
    assert gains == pytest.approx([0.5, -1.0, 1.0])
