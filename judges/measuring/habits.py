"""A labeler's biases on pairs with a known better side, with bootstrap intervals: position, length,
discrimination.

The log-odds of A are regressed on the truth (+1 or -1) and on the difference in length, without an
intercept, by least squares. The coefficient of the truth is the discrimination in nats, the other
one the length bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infra.records.labeler import Habits, Interval
from judges.judgment.pairs import SIGN, Comparison, Pair
from judges.measuring.accuracy import Floats
from judges.measuring.intervals import BOOTSTRAP_RESAMPLES, not_measured


def labeler_habits(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Habits:
    """Return the biases on the scored pairs; NaN if there are fewer than two."""
    scored = [(p, c) for p, c in zip(pairs, comparisons, strict=True) if c.is_scored]
    if len(scored) < 2:
        return Habits(not_measured(), not_measured(), not_measured())
    features = np.array([[(len(p.a) - len(p.b)) / 1000, SIGN[p.truth or "tie"]] for p, _ in scored])
    odds, gaps = np.array([c.log_odds for _, c in scored]), np.array([c.gap for _, c in scored])
    rng = np.random.default_rng(0)
    resamples = np.array(
        [
            _coefficients(features[drawn], odds[drawn], gaps[drawn])
            for drawn in rng.integers(0, len(scored), (BOOTSTRAP_RESAMPLES, len(scored)))
        ]
    )
    low, high = np.quantile(resamples, [0.025, 0.975], axis=0)
    values = _coefficients(features, odds, gaps)
    gap, slope, discrimination = (
        Interval(*map(float, bounds)) for bounds in zip(values, low, high, strict=True)
    )
    return Habits(gap, slope, discrimination)


def _coefficients(features: Floats, odds: Floats, gaps: Floats) -> NDArray[np.float64]:
    """Return (gap, length slope, discrimination)."""
    slope, discrimination = np.linalg.lstsq(features, odds, rcond=None)[0]
    return np.array([gaps.mean(), slope, discrimination])
