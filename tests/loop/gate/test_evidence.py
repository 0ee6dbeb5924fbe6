from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from judges.measuring.sequential import LARGEST_SHARE
from loop.gate.evidence import (
    FIXED_PART,
    FIXED_SHARES,
    PRIOR_SQUARES,
    GateRule,
    Goal,
    clipped_gains,
    judge_gains,
    log_evidence_path,
    unit_means,
)

NUM_STREAMS = 2000


def crossing_share(
    streams: np.ndarray, rule: GateRule, alpha: float, planned: int | None = None
) -> float:
    """The share of streams [R, N] that ever pass; all of their units are planned by default."""
    goal = Goal(-math.log(alpha), streams.shape[1] if planned is None else planned)
    paths = log_evidence_path(streams - rule.bound, rule.bound, goal)
    return float((paths >= goal.log_threshold).any(axis=1).mean())


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
@pytest.mark.parametrize("planned", [0, 20, 300, 1000])
def test_false_promotions_stay_within_the_bound_with_optional_stopping(
    null: str, alpha: float, planned: int
) -> None:
    """Whatever number of units was planned: 300 are seen."""
    streams = NULLS[null](np.random.default_rng(1))
    assert_within_bound(crossing_share(streams, GateRule(), alpha, planned), alpha)


def test_a_test_without_a_gain_spends_most_of_its_level() -> None:
    """Evidence is not wasted: on coin tosses of a third, half of the chance of 5% at least."""
    streams = np.random.default_rng(8).choice([-0.3, 0.3], (NUM_STREAMS, 300))
    assert crossing_share(streams, GateRule(), 0.05) > 0.025


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


def plain_path(x: list[float], bound: float, goal: Goal) -> list[float]:
    """The evidence by its definition, one unit after another, with scipy's normal distribution."""
    fixed, seeking, path = [1.0] * len(FIXED_SHARES), 1.0, []
    for i, value in enumerate(x):
        past = x[:i]
        squares = PRIOR_SQUARES + sum(v**2 for v in past) - sum(past) ** 2 / (i + 1)
        bet = 0.0
        own = FIXED_PART * sum(fixed) / len(fixed)
        needed = (math.exp(goal.log_threshold) - own) / (1 - FIXED_PART)
        if i < goal.planned_units and seeking < needed:
            scale = math.sqrt(squares / (i + 1) * (goal.planned_units - i))
            distance = norm.isf(seeking / needed / 2)
            bet = norm.pdf(distance) / norm.sf(distance) / scale
        bet = min(bet, LARGEST_SHARE / (1 + bound))
        seeking *= 1 + bet * value
        fixed = [
            capital * (1 + share / (1 + bound) * value)
            for capital, share in zip(fixed, FIXED_SHARES, strict=True)
        ]
        own = FIXED_PART * sum(fixed) / len(fixed)
        path.append(math.log(own + (1 - FIXED_PART) * seeking))
    return path


@pytest.mark.parametrize("bound", [0.0, 0.2, -0.4])
@pytest.mark.parametrize("planned", [30, 50, 90])
def test_evidence_equals_a_plain_loop(bound: float, planned: int) -> None:
    for seed, mean in enumerate([-0.2, 0.1, 0.6]):
        gains = np.clip(np.random.default_rng(seed).normal(mean, 0.3, 50), -1, 1)
        goal = Goal(math.log(40), planned)
        path = log_evidence_path(gains - bound, bound, goal)
        assert path == pytest.approx(plain_path(list(gains - bound), bound, goal), abs=1e-9)


def test_streams_are_independent_and_the_past_does_not_depend_on_the_future() -> None:
    x = np.random.default_rng(4).uniform(-1, 1, (3, 40))
    goal = Goal(3.0, 40)
    paths = log_evidence_path(x, 0.0, goal)
    for row, path in zip(x, paths, strict=True):
        assert log_evidence_path(row, 0.0, goal) == pytest.approx(path)
        assert log_evidence_path(row[:17], 0.0, goal) == pytest.approx(path[:17])


bounds = st.floats(-0.99, 0.99)
goals = st.builds(Goal, st.floats(0.01, 700), st.integers(0, 80))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), bounds, goals)
def test_wealth_is_finite_and_never_lost_altogether(
    values: list[float], bound: float, goal: Goal
) -> None:
    """Each unit leaves a fiftieth, and the smallest bet alone keeps a share of its own."""
    path = log_evidence_path(np.array(values) - bound, bound, goal)
    assert np.isfinite(path).all()
    part = FIXED_PART / len(FIXED_SHARES) if goal.planned_units else 1 / len(FIXED_SHARES)
    floor = math.log(part) + np.arange(1, len(path) + 1) * math.log1p(-FIXED_SHARES[0])
    assert (path >= floor - 1e-9).all()


@given(bounds, goals, st.integers(1, 300))
def test_the_worst_and_the_best_units_leave_numbers(bound: float, goal: Goal, count: int) -> None:
    for value in (-1.0, 1.0):
        assert np.isfinite(log_evidence_path(np.full(count, value - bound), bound, goal)).all()


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), bounds)
def test_a_unit_at_the_bound_changes_nothing_and_a_better_one_adds(
    values: list[float], bound: float
) -> None:
    x = np.array(values) - bound
    before = log_evidence_path(x, bound)[-1]
    for last, sign in ((0.0, 0), (1.0 - bound, 1), (-1.0 - bound, -1)):
        after = log_evidence_path(np.append(x, last), bound)[-1]
        assert (
            after - before == pytest.approx(0.0, abs=1e-9)
            if sign == 0
            else (sign * (after - before) > 0)
        )


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), bounds)
def test_fixed_bets_do_not_mind_the_order(values: list[float], bound: float) -> None:
    x = np.array(values) - bound
    one, other = (log_evidence_path(row, bound)[-1] for row in (x, x[::-1]))
    assert one == pytest.approx(other, abs=1e-9)


def test_a_planned_number_of_units_promotes_far_more_than_fixed_bets_alone() -> None:
    gains = np.clip(np.random.default_rng(3).normal(0.1, 0.3, (NUM_STREAMS, 100)), -1, 1)
    level = 0.05 / 20
    assert crossing_share(gains, GateRule(), level) > 1.4 * crossing_share(
        gains, GateRule(), level, planned=0
    )


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
    worse = log_evidence_path(bound - streams, -bound)
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
        (0.0, [0.119842369707, 1.02603250634, 0.979692856226, 0.751286417311]),
        (0.1, [-0.12731616269, 0.428700014107, 0.168116867436, -0.121639471319]),
        (-0.05, [0.2631788155, 1.378165809674, 1.479598807838, 1.302281025255]),
        (-0.3, [1.256285726724, 3.801411898621, 5.097515840602, 5.485716314729]),
    ],
)
def test_fixed_bets_equal_confseq(bound: float, golden: list[float]) -> None:
    """`diversified_betting_mart` of confseq 0.0.11 (by the authors of the method) on (d + 1) / 2
    with mean m = (bound + 1) / 2 and the bets share / m, after 5, 10, 15 and 20 units."""
    path = log_evidence_path(np.array(GAINS) - bound, bound)
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
