"""Win rates corrected for the labeler's measured errors (Rogan and Gladen 1978, Lang and Reiczigel
2014).

A labeler that is right less often than not about either side makes a rate mean nothing; then none
is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm

from judges.judgment.pairs import Comparison, Pair
from judges.measuring.intervals import Interval, share_of


@dataclass(frozen=True)
class Errors:
    """What gold says of a labeler: pairs whose better side is A, those of them it got right, and
    the same for B.
    """

    num_a: int
    right_a: int
    num_b: int
    right_b: int

    @property
    def sensitivity(self) -> float:
        """How often it says A where A is better."""
        return self.right_a / self.num_a if self.num_a else 0.0

    @property
    def specificity(self) -> float:
        """How often it says B where B is better."""
        return self.right_b / self.num_b if self.num_b else 0.0


@dataclass(frozen=True)
class WinRate:
    """How often the first of two wins: as the labeler says, and corrected; None with the reason
    where it cannot be.
    """

    raw: Interval
    corrected: Interval | None
    reason: str = ""


def errors_on(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Errors:
    """The errors on gold pairs; gold ties are left out, unscored pairs and named ties are wrong."""
    right = {"A": 0, "B": 0}
    number = {"A": 0, "B": 0}
    for pair, said in zip(pairs, comparisons, strict=True):
        if pair.truth in ("A", "B"):
            number[pair.truth] += 1
            right[pair.truth] += said.is_scored and said.verdict() == pair.truth
    return Errors(number["A"], right["A"], number["B"], right["B"])


def corrected_win_rate(
    num_wins: int, number: int, errors: Errors, confidence: float = 0.95
) -> WinRate:
    """The win rate over `number` decided pairs; the interval holds the errors' own uncertainty too."""
    raw = share_of(num_wins, number, confidence)
    if errors.sensitivity + errors.specificity <= 1:
        reason = f"on gold it is right on {errors.sensitivity:.0%} of one side and {errors.specificity:.0%} of the other"
        return WinRate(raw, None, reason)
    z = float(norm.ppf(0.5 + confidence / 2))
    seen = (num_wins + z * z / 2) / (number + z * z)
    sensitivity, specificity = (
        (errors.right_a + 1) / (errors.num_a + 2),
        (errors.right_b + 1) / (errors.num_b + 2),
    )
    youden = sensitivity + specificity - 1
    if youden <= 0:
        return WinRate(raw, None, "too few gold pairs to tell it from guessing")
    rate = min(max((seen + specificity - 1) / youden, 0.0), 1.0)
    var_a = sensitivity * (1 - sensitivity) / (errors.num_a + 2)
    var_b = specificity * (1 - specificity) / (errors.num_b + 2)
    shift = 2 * z * z * (rate * var_a - (1 - rate) * var_b)
    spread = (
        z
        * math.sqrt(
            seen * (1 - seen) / (number + z * z) + rate**2 * var_a + (1 - rate) ** 2 * var_b
        )
        / youden
    )
    point = (num_wins / number + errors.specificity - 1) / (
        errors.sensitivity + errors.specificity - 1
    )
    low, high = (min(max(rate + shift + sign * spread, 0.0), 1.0) for sign in (-1, 1))
    return WinRate(raw, Interval(min(max(point, 0.0), 1.0), low, high))
