"""A test that a labeler is right more often than a rule, which may be looked at after every pair.

Outcome x of a pair is 1 if it was judged right, 0 if wrong or not at all, 1/2 for a tie. Against
"right with probability t at most", a bet lambda multiplies a capital by 1 + lambda (x - t), by at
most 1 in the mean. So the mean of several such capitals is an e-process, and the chance that it
ever reaches 1/a is at most a (Ville 1939; Waudby-Smith and Ramdas 2024, arXiv:2010.09686).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NUM_BETS = 16
LARGEST_SHARE = 0.98
"""Largest bet as a share of the one that a single outcome could lose everything with."""
HOPELESS_ALPHA = 0.05
"""Probability of giving up a labeler although it is right as often as it should be."""
USEFUL_ACCURACY = 0.75
"""A labeler that is shown to be worse than this, or than halfway from t to 1, is given up."""


@dataclass(frozen=True)
class SequentialResult:
    """`decision` is pass, fail or open after `num_pairs`."""

    decision: str
    num_pairs: int


def log_mean_capital(x: Floats, bets: Sequence[float]) -> Floats:
    """Log of the mean of capitals that are multiplied by 1 + bet x, one for each bet.

    The last axis of x is time; leading axes are independent streams.
    """
    total = np.full(x.shape, -np.inf)
    for bet in bets:
        np.logaddexp(total, np.cumsum(np.log1p(bet * x), axis=-1), out=total)
    return total - math.log(len(bets))


def log_capital_path(outcomes: Floats, limit: float) -> Floats:
    """Log capital against "right with probability `limit` at most" after 1, 2, ... outcomes."""
    bets = LARGEST_SHARE / max(limit, 1e-9) * (np.arange(NUM_BETS) + 1) / NUM_BETS
    return log_mean_capital(outcomes - limit, bets.tolist())


def sequential_test(outcomes: Sequence[float], limit: float, alpha: float) -> SequentialResult:
    """The result at the first outcome that decides, or after all of them.

    It passes at level `alpha` if the labeler is right more often than `limit`.
    """
    values = np.asarray(outcomes, dtype=np.float64)
    useful = max(USEFUL_ACCURACY, (1.0 + limit) / 2)
    better = log_capital_path(values, limit) >= -math.log(alpha)
    hopeless = log_capital_path(1.0 - values, 1.0 - useful) >= -math.log(HOPELESS_ALPHA)
    passed, failed = (int(np.argmax(m)) if m.any() else len(values) for m in (better, hopeless))
    decision = "open"
    if min(passed, failed) < len(values):
        decision = "pass" if passed < failed else "fail"
    return SequentialResult(decision, min(passed, failed, len(values) - 1) + 1)


def accuracy_bounds(outcomes: Floats, alpha: float = 0.05) -> tuple[float, float]:
    """Bounds of the probability of being right, each of which holds at any time with 1 - alpha."""
    return _lower_bound(outcomes, alpha), 1.0 - _lower_bound(1.0 - outcomes, alpha)


def _lower_bound(outcomes: Floats, alpha: float) -> float:
    """The limit at which the evidence is just 1/alpha; 0 if there is none."""
    from scipy.optimize import brentq  # slow to import

    def excess(limit: float) -> float:
        return float(log_capital_path(outcomes, limit)[-1]) + math.log(alpha)

    mean = float(outcomes.mean()) if len(outcomes) else 0.0
    if mean <= 0.0 or excess(1e-6) < 0.0:
        return 0.0
    return float(brentq(excess, 1e-6, mean)) if excess(mean) < 0.0 else mean
