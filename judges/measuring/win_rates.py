"""Win rates corrected for the labeler's measured errors (Rogan and Gladen 1978, Lang and Reiczigel
2014).

No corrected rate is given for a labeler that is not better than guessing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm

from infra.records.labeler import Interval, LabelerErrors
from judges.judgment.pairs import Comparison, Pair
from judges.measuring.intervals import share_interval


@dataclass(frozen=True)
class CorrectedWinRate:
    """How often the first of two models wins: uncorrected, and corrected (None with a reason if it
    cannot be corrected).
    """

    raw: Interval
    corrected: Interval | None
    reason: str = ""


def count_errors(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> LabelerErrors:
    """Count a labeler's errors on the gold pairs that it decides.

    Gold ties, unscored pairs and verdicts of a tie are left out, as they are in the win rate that
    is corrected: a labeler that declines often and is else right needs no correction.
    """
    right = {"A": 0, "B": 0}
    number = {"A": 0, "B": 0}
    for pair, comparison in zip(pairs, comparisons, strict=True):
        is_decided = comparison.is_scored and comparison.verdict() != "tie"
        if pair.truth in ("A", "B") and is_decided:
            number[pair.truth] += 1
            right[pair.truth] += comparison.verdict() == pair.truth
    return LabelerErrors(number["A"], right["A"], number["B"], right["B"])


def corrected_win_rate(
    num_wins: int, number: int, errors: LabelerErrors, confidence: float = 0.95
) -> CorrectedWinRate:
    """Return the win rate over `number` decided pairs. The interval includes the uncertainty of the
    errors.
    """
    raw = share_interval(num_wins, number, confidence)
    youden = errors.sensitivity + errors.specificity - 1
    if youden <= 0:
        reason = (
            f"on gold it is right on {errors.sensitivity:.0%} of one side"
            f" and {errors.specificity:.0%} of the other"
        )
        return CorrectedWinRate(raw, None, reason)
    bounds = _bounds(num_wins, number, errors, float(norm.ppf(0.5 + confidence / 2)))
    if bounds is None:
        return CorrectedWinRate(raw, None, "too few gold pairs to tell it from guessing")
    point = (num_wins / number + errors.specificity - 1) / youden
    return CorrectedWinRate(raw, Interval(_clip(point), *bounds))


def _bounds(
    num_wins: int, number: int, errors: LabelerErrors, z: float
) -> tuple[float, float] | None:
    """Return the bounds of Lang and Reiczigel, or None if the errors may be those of guessing."""
    observed = (num_wins + z * z / 2) / (number + z * z)
    sensitivity = (errors.right_a + 1) / (errors.num_a + 2)
    specificity = (errors.right_b + 1) / (errors.num_b + 2)
    youden = sensitivity + specificity - 1
    if youden <= 0:
        return None
    rate = _clip((observed + specificity - 1) / youden)
    var_a = sensitivity * (1 - sensitivity) / (errors.num_a + 2)
    var_b = specificity * (1 - specificity) / (errors.num_b + 2)
    shift = 2 * z * z * (rate * var_a - (1 - rate) * var_b)
    variance = observed * (1 - observed) / (number + z * z)
    spread = z * math.sqrt(variance + rate**2 * var_a + (1 - rate) ** 2 * var_b) / youden
    return _clip(rate + shift - spread), _clip(rate + shift + spread)


def _clip(rate: float) -> float:
    return min(max(rate, 0.0), 1.0)
