"""Verdicts against the truth, and what rules that need no labeler would reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from judges.judgment.pairs import Comparison, Pair

Floats = NDArray[np.float64]


def right(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Floats:
    """1 for a right verdict, 0 for a wrong one and for none, 0.5 where gold or labeler sees a tie;
    shape (pairs,).
    """
    return np.array([_right(pair, c) for pair, c in zip(pairs, comparisons, strict=True)])


def _right(pair: Pair, comparison: Comparison) -> float:
    if not comparison.is_scored:
        return 0.0
    verdict = comparison.verdict()
    return 0.5 if "tie" in (pair.truth, verdict) else float(verdict == pair.truth)


def outcomes_of(pairs: Sequence[Pair]) -> Floats:
    """1 where A is right, 0 where B is, 0.5 for a tie."""
    return np.array([{"A": 1.0, "B": 0.0, "tie": 0.5}[p.truth or "tie"] for p in pairs])


def majority_baseline(pairs: Sequence[Pair]) -> float:
    """Accuracy of always naming the side that is right more often."""
    first = float(outcomes_of(pairs).mean())
    return max(first, 1 - first)


def longer_baseline(pairs: Sequence[Pair]) -> float:
    """Accuracy of always naming the longer answer, or always the shorter one, whichever is better."""
    longer = [Comparison(float(len(p.a) - len(p.b)), float(len(p.a) - len(p.b))) for p in pairs]
    accuracy = float(right(pairs, longer).mean())
    return max(accuracy, 1 - accuracy)
