"""Shares and accuracies with their Wilson intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from infra.records.labeler import Interval

BOOTSTRAP_RESAMPLES = 500


def share_interval(count: int, number: int, confidence: float = 0.95) -> Interval:
    """Return a share with its Wilson interval. `number` must be at least 1."""
    bounds = binomtest(count, number).proportion_ci(confidence, "wilson")
    return Interval(count / number, float(bounds.low), float(bounds.high))


def accuracy_interval(scores: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Return the mean of scores in [0, 1] with its Wilson interval; the number right is rounded
    down.
    """
    bounds = share_interval(int(np.floor(scores.sum())), len(scores), confidence)
    return Interval(float(scores.mean()), bounds.low, bounds.high)


def paired_interval(
    first: NDArray[Any],
    second: NDArray[Any],
    statistic: Callable[[NDArray[Any], NDArray[Any]], float],
) -> Interval:
    """Return a statistic of paired values, shape (pairs,) each, with its 95% bootstrap interval."""
    bounds = bootstrap(
        (first, second),
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=BOOTSTRAP_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(statistic(first, second), float(bounds.low), float(bounds.high))


def not_measured() -> Interval:
    """Return an interval of NaNs."""
    return Interval(float("nan"), float("nan"), float("nan"))
