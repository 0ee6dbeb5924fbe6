"""Strengths from contests: against choix, against what was put in, and as properties."""

from __future__ import annotations

from itertools import combinations

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judges.making.preferences.rating import Contest, fit_ratings, marked_share


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda p: p[0] != p[1]), max_size=60
    )
)
def test_strengths_without_ties_are_those_of_choix(wins: list[tuple[int, int]]) -> None:
    alpha = 0.1
    ours = fit_ratings(
        6, [Contest(a, b, 1.0) for a, b in wins], prior_sd=float(np.sqrt(1 / (2 * alpha)))
    ).strengths
    theirs = choix.opt_pairwise(6, wins, alpha=alpha, tol=1e-12) if wins else np.zeros(6)
    assert ours - ours.mean() == pytest.approx(theirs - theirs.mean(), abs=1e-3)


def simulated(
    strengths: np.ndarray, lengths: np.ndarray, slope: float, nu: float, rounds: int
) -> list[Contest]:
    dice = np.random.default_rng(5)
    contests = []
    for a, b in list(combinations(range(len(strengths)), 2)) * rounds:
        z = strengths[a] - strengths[b] + slope * (lengths[a] - lengths[b])
        weights = np.array([np.exp(z / 2), np.exp(-z / 2), nu])
        outcome = dice.choice(3, p=weights / weights.sum())
        contests.append(Contest(a, b, float(outcome == 0), float(outcome == 2)))
    return contests


def test_strengths_ties_and_the_effect_of_length_are_recovered() -> None:
    dice = np.random.default_rng(1)
    lengths = dice.normal(0, 1, 30)
    strengths = dice.normal(0, 1, 30)
    strengths -= np.polyval(
        np.polyfit(lengths, strengths, 1), lengths
    )  # what length explains belongs to the slope
    ratings = fit_ratings(30, simulated(strengths, lengths, 1.5, 0.8, 12), lengths[:, None])
    assert np.corrcoef(ratings.strengths, strengths)[0, 1] > 0.95
    assert ratings.coefficients[0] / lengths.std() == pytest.approx(1.5, abs=0.35)
    assert np.exp(ratings.log_nu) == pytest.approx(0.8, abs=0.15)
    blind = fit_ratings(30, simulated(strengths, lengths, 1.5, 0.8, 12))
    assert (
        abs(np.corrcoef(ratings.strengths, lengths)[0, 1])
        < 0.3
        < np.corrcoef(blind.strengths, lengths)[0, 1]
    )


def test_the_interval_of_a_margin_covers_the_truth() -> None:
    dice = np.random.default_rng(2)
    covered = []
    for _ in range(60):
        strengths = dice.normal(0, 2, 4)
        wins = [
            Contest(a, b, float(dice.random() < 1 / (1 + np.exp(strengths[b] - strengths[a]))))
            for a, b in list(combinations(range(4), 2)) * 10
        ]
        ratings = fit_ratings(4, wins)
        for a, b in combinations(range(4), 2):
            error = abs(ratings.margin(a, b) - (strengths[a] - strengths[b]))
            covered.append(error < 1.96 * np.sqrt(ratings.variance(a, b)))
    assert 0.9 < np.mean(covered) <= 1.0


def test_nothing_known_is_a_half_and_what_is_least_known_teaches_most() -> None:
    nothing = fit_ratings(3, [])
    assert nothing.probability(0, 1) == 0.5
    some = fit_ratings(3, [Contest(0, 1, 0.5)] * 20)
    assert some.information(0, 1) < some.information(0, 2)
    assert some.variance(0, 1) < some.variance(1, 2)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_contest_told_the_other_way_round_is_the_same(win: float, tie: float) -> None:
    one = fit_ratings(2, [Contest(0, 1, win, tie)])
    other = fit_ratings(2, [Contest(1, 0, 1 - win, tie)])
    assert one.strengths == pytest.approx(other.strengths, abs=1e-5)
    assert one.probability(0, 1) + one.probability(1, 0) == pytest.approx(1.0)


def test_style_is_the_share_of_marked_lines() -> None:
    assert marked_share("plain") == marked_share("") == 0.0
    assert marked_share("# a\n- b\nc\nd") == 0.5
