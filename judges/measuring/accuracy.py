"""Accuracy of verdicts, and of rules that need no labeler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from judges.judgment.pairs import Comparison, Pair

Floats = NDArray[np.float64]


def right(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Floats:
    """Return 1 for a right verdict, 0 for a wrong or missing one, 0.5 if gold or labeler say tie;
    shape (pairs,).
    """
    return np.array([_right(pair, c) for pair, c in zip(pairs, comparisons, strict=True)])


def _right(pair: Pair, comparison: Comparison) -> float:
    if not comparison.is_scored:
        return 0.0
    verdict = comparison.verdict()
    return 0.5 if "tie" in (pair.truth, verdict) else float(verdict == pair.truth)


def truth_values(pairs: Sequence[Pair]) -> Floats:
    """Return 1 if A is better, 0 if B is better, 0.5 for a tie; shape (pairs,)."""
    return np.array([{"A": 1.0, "B": 0.0, "tie": 0.5}[p.truth or "tie"] for p in pairs])


def majority_baseline(pairs: Sequence[Pair]) -> float:
    """Return the accuracy of always choosing the side that is better more often."""
    first = float(truth_values(pairs).mean())
    return max(first, 1 - first)


def longer_baseline(pairs: Sequence[Pair]) -> float:
    """Return the accuracy of always choosing the longer or always the shorter answer, whichever is
    better.
    """
    differences = [float(len(p.a) - len(p.b)) for p in pairs]
    longer = [Comparison(difference, difference) for difference in differences]
    accuracy = float(right(pairs, longer).mean())
    return max(accuracy, 1 - accuracy)
