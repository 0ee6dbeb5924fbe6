"""A labeler's habits on pairs with a known answer, each with its interval: place, length,
discrimination.

The log-odds of A are explained by the truth and by the difference in length, without a constant, by
least squares: the truth's coefficient is the discrimination (nats between right and even), the
other the liking for length. The intervals are bootstrapped over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from judges.judgment.pairs import SIGN, Comparison, Pair
from judges.measuring.intervals import Interval
from judges.measuring.outcomes import Floats

RESAMPLES = 500


@dataclass(frozen=True)
class Habits:
    """`gap`: nats that the first place gains; `length_slope`: nats that a thousand characters more
    add.
    """

    gap: Interval
    length_slope: Interval
    discrimination: Interval


def habits_of(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Habits:
    """Habits on the scored pairs; not a number where there are fewer than two."""
    used = [(p, c) for p, c in zip(pairs, comparisons, strict=True) if c.is_scored]
    if len(used) < 2:
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        return Habits(nothing, nothing, nothing)
    features = np.array([[(len(p.a) - len(p.b)) / 1000, SIGN[p.truth or "tie"]] for p, _ in used])
    odds, gaps = np.array([c.log_odds for _, c in used]), np.array([c.gap for _, c in used])
    point = _numbers(features, odds, gaps)
    dice = np.random.default_rng(0)
    drawn = np.array(
        [
            _numbers(features[chosen], odds[chosen], gaps[chosen])
            for chosen in dice.integers(0, len(used), (RESAMPLES, len(used)))
        ]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    gap, slope, discrimination = (
        Interval(*map(float, bounds)) for bounds in zip(point, low, high, strict=True)
    )
    return Habits(gap, slope, discrimination)


def _numbers(features: Floats, odds: Floats, gaps: Floats) -> NDArray[np.float64]:
    """(gap, length slope, discrimination)."""
    slope, discrimination = np.linalg.lstsq(features, odds, rcond=None)[0]
    return np.array([gaps.mean(), slope, discrimination])
