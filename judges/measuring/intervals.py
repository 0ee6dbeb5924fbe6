"""Shares with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


@dataclass(frozen=True)
class Interval:
    """A value with its bounds."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share_of(count: int, number: int, confidence: float = 0.95) -> Interval:
    """A share of at least one with Wilson's interval."""
    bounds = binomtest(count, number).proportion_ci(confidence, "wilson")
    return Interval(count / number, float(bounds.low), float(bounds.high))


def accuracy_of(scores: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """The mean of scores in [0, 1] with Wilson's interval, on the number right rounded down."""
    bounds = share_of(int(np.floor(scores.sum())), len(scores), confidence)
    return Interval(float(scores.mean()), bounds.low, bounds.high)
