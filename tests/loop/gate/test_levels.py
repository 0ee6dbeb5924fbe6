"""Whole runs by simulation: how many promotions are false, and how a point estimate and a z-test do
beside the gate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from loop.gate.config import GateConfig
from loop.gate.evidence import GateRule, Goal, log_evidence_path
from loop.gate.levels import LevelKind, attempt_level, log_threshold
from loop.gate.rules import AttemptRule, SuiteRule

RULE = GateRule()
ALPHA = 0.05
RUNS = 2000
UNITS = 80


def within(count: int, total: int, chance: float) -> bool:
    return binomtest(count, total, chance, alternative="greater").pvalue > 1e-3


def passes(gains: np.ndarray, level: float, outcomes: Sequence[int] = ()) -> np.ndarray:
    """Which streams [R, N] ever cross: stopped at the best moment for the candidate."""
    goal = Goal(log_threshold(level, outcomes), gains.shape[1])
    path = log_evidence_path(gains - RULE.bound, RULE.bound, goal)
    return (path >= goal.log_threshold).any(axis=1)


def units(rng: np.random.Generator, mean: np.ndarray, spread: float = 0.5) -> np.ndarray:
    """Gains [R, N] in [-1, 1] whose means are exactly those given."""
    return mean[:, None] + spread * rng.choice([-1.0, 1.0], (len(mean), UNITS))


def test_levels_of_all_attempts_sum_to_alpha() -> None:
    levels = [attempt_level("strict", 0.05, k, 0) for k in range(1, 100_000)]
    assert levels[0] == 0.025
    assert sum(levels) < 0.05
    assert sum(levels) == pytest.approx(0.05, rel=1e-4)


@given(st.integers(1, 1000), st.integers(0, 1000), st.floats(1e-6, 0.5))
def test_discovery_grows_with_what_was_found_and_never_beyond_alpha(
    attempt: int, discoveries: int, alpha: float
) -> None:
    discoveries = min(discoveries, attempt - 1)
    strict = attempt_level("strict", alpha, attempt, discoveries)
    level = attempt_level("discovery", alpha, attempt, discoveries)
    assert strict <= level <= alpha
    assert attempt_level("discovery", alpha, attempt, 0) == strict


def test_reused_items_ask_for_as_much_more_as_each_earlier_decision_could_show() -> None:
    assert log_threshold(0.025) == pytest.approx(math.log(40))
    assert log_threshold(0.025, [2, 2, 2]) == pytest.approx(math.log(40 * 2**3))
    assert log_threshold(0.025, [5, 3, 9]) == pytest.approx(math.log(40 * 5 * 3 * 9))


def test_threshold_counts_the_candidates_that_earlier_attempts_had() -> None:
    exam = SuiteRule("exam", "primary", 1.0, 0.2, True, False)
    text = SuiteRule("bits_per_byte", "guard", 1.0, 0.2, False, False)
    rule = AttemptRule(GateConfig(), 4, 0, [2, 2, 2, 1], [exam, text])
    assert rule.threshold(exam) == pytest.approx(math.log(5**3) + math.log(20 / 0.05))
    assert rule.threshold(text) == pytest.approx(math.log(20 / 0.05))


def test_twenty_generations_without_a_gain_are_rarely_promoted_by_this_gate_alone() -> None:
    rng = np.random.default_rng(0)
    promoted = {
        "gate": np.zeros(RUNS, bool),
        "point": np.zeros(RUNS, bool),
        "z": np.zeros(RUNS, bool),
    }
    for attempt in range(1, 21):
        gains = units(rng, np.zeros(RUNS))
        promoted["gate"] |= passes(gains, attempt_level("strict", ALPHA, attempt, 0))
        promoted["point"] |= gains.mean(axis=1) > 0
        promoted["z"] |= gains.mean(axis=1) > 1.645 * gains.std(axis=1, ddof=1) / math.sqrt(UNITS)
    assert within(int(promoted["gate"].sum()), RUNS, ALPHA)
    assert promoted["point"].mean() > 0.99
    assert promoted["z"].mean() > 0.5


def offers(rng: np.random.Generator, was_promoted: np.ndarray) -> np.ndarray:
    """An adversary's eight next candidates, [R, 8] true gains, none above zero; what was promoted
    before is repeated."""
    means = -np.abs(rng.normal(0, 0.02, (len(was_promoted), 8)))
    means[was_promoted, 0] = 0.0
    return means


def test_an_adversary_that_picks_the_best_of_eight_on_all_it_can_see_stays_within_the_bound() -> (
    None
):
    """Candidates are chosen by every bit that earlier attempts let out, and by eight candidates'
    scores on the items of earlier attempts; what decides is drawn afresh."""
    rng = np.random.default_rng(1)
    ever = np.zeros(RUNS, bool)
    for attempt in range(1, 11):
        means = offers(rng, ever)
        seen = np.stack([units(rng, means[:, k]).mean(axis=1) for k in range(8)], axis=1)
        chosen = np.take_along_axis(means, seen.argmax(axis=1)[:, None], axis=1)[:, 0]
        ever |= passes(units(rng, chosen), attempt_level("strict", ALPHA, attempt, 0))
    assert within(int(ever.sum()), RUNS, ALPHA)


def test_an_adversary_that_learns_a_fixed_set_bit_by_bit_is_held_by_the_looks() -> None:
    """The same items in every attempt. A candidate is right on random items, and on those that
    candidates which passed before were right on: all that is known of the items is which attempts
    passed."""
    rng = np.random.default_rng(2)
    known, ever = np.zeros((RUNS, UNITS)), np.zeros(RUNS, bool)
    for attempt in range(1, 13):
        pattern = np.sign(known + rng.choice([-1.0, 1.0], known.shape))
        passed = passes(
            0.5 * pattern, attempt_level("strict", ALPHA, attempt, 0), [2] * (attempt - 1)
        )
        known[passed] += 2 * pattern[passed]
        ever |= passed
    assert within(int(ever.sum()), RUNS, ALPHA)


def test_an_adversary_that_uses_all_that_two_candidates_an_attempt_can_show_is_held() -> None:
    """Three attempts of two candidates have 27 histories: each can lead to another candidate of the
    fourth attempt, which has one. At worst the history names the one that looks best on the items.
    """
    rng, alpha = np.random.default_rng(4), 0.5
    exam = SuiteRule("exam", "primary", 1.0, 0.2, True, False)
    rule = AttemptRule(GateConfig(alpha=alpha), 4, 0, [2, 2, 2, 1], [exam])
    unseen = replace(rule, num_candidates=[1, 1, 1, 1])
    passed = {"of two": np.zeros(RUNS, bool), "of one": np.zeros(RUNS, bool)}
    for _ in range(3**3):
        gains = units(rng, np.zeros(RUNS)) - RULE.bound
        for name, one in (("of two", rule), ("of one", unseen)):
            goal = Goal(one.threshold(exam), UNITS)
            passed[name] |= (log_evidence_path(gains, RULE.bound, goal) > goal.log_threshold).any(1)
    assert within(int(passed["of two"].sum()), RUNS, rule.level)
    assert passed["of one"].sum() > passed["of two"].sum()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_the_share_of_false_promotions_is_at_most_alpha_in_discovery(share: float) -> None:
    """e-LOND: fifteen attempts, of which a share brings a gain; the others must not promote."""
    promoted, wrong = discover("discovery", share)
    shares = wrong / np.maximum(promoted, 1)
    assert shares.mean() <= ALPHA + 3 * shares.std() / math.sqrt(RUNS)


def discover(kind: LevelKind, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Promotions, and false ones, of each run of fifteen attempts."""
    rng = np.random.default_rng(3)
    promoted, wrong = np.zeros(RUNS, int), np.zeros(RUNS, int)
    for attempt in range(1, 16):
        good = rng.random(RUNS) < share
        gains = units(rng, np.where(good, 0.3, 0.0))
        before = promoted.copy()
        for num_promoted in np.unique(before):
            runs = before == num_promoted
            ok = passes(gains[runs], attempt_level(kind, ALPHA, attempt, int(num_promoted)))
            promoted[runs] += ok
            wrong[runs] += ok & ~good[runs]
    return promoted, wrong


def test_discovery_finds_more_than_strict_where_there_is_much_to_find() -> None:
    promotions = {kind: discover(kind, 0.9)[0].mean() for kind in ("strict", "discovery")}
    assert promotions["strict"] < promotions["discovery"] <= 15 * 0.9 + 0.2


@pytest.mark.parametrize("level", ["strict", "discovery"])
def test_a_generation_with_eight_candidates_is_within_the_bound_too(level: LevelKind) -> None:
    """Ten attempts with eight candidates each and no gain: all are tested on the same units, the
    noise of a unit is shared in part, and each has an eighth of the attempt's level."""
    rng = np.random.default_rng(4)
    ever = np.zeros(RUNS // 2, bool)
    naive = np.zeros(RUNS // 2, bool)
    for attempt in range(1, 11):
        share = attempt_level(level, ALPHA, attempt, 0)
        shared = units(rng, np.zeros(len(ever)), 0.25)
        for _ in range(8):
            gains = shared + units(rng, np.zeros(len(ever)), 0.25)
            ever |= passes(gains, share / 8)
            naive |= gains.mean(axis=1) > 1.645 * gains.std(axis=1, ddof=1) / math.sqrt(UNITS)
    assert within(int(ever.sum()), len(ever), ALPHA)
    assert naive.mean() > 0.9
