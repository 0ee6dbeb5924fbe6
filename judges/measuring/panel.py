"""Several labelers as one: votes weighted by what each is worth on gold.

A vote counts its log-odds of being right (Nitzan and Paroush 1982), measured on the calibration
half with one imagined right and one imagined wrong vote added, so that a labeler below chance
counts against its own verdict. Equal weights are not offered: on LLMBar five labelers of 2023 with
equal votes are right far less often than the best of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from judges.judgment.answers import total_usage
from judges.judgment.pairs import SIGN, Comparison, Pair
from judges.measuring.outcomes import Floats, right


@dataclass(frozen=True)
class Panel:
    """Labelers' weights, in nats, and how many independent votes they amount to."""

    weights: Mapping[str, float]
    effective_votes: float

    def combine(self, comparisons: Mapping[str, Sequence[Comparison]]) -> list[Comparison]:
        """One comparison a pair: the sum of weighted votes as log-odds, unscored where nobody was
        scored.
        """
        combined = []
        for votes in zip(*(comparisons[name] for name in self.weights), strict=True):
            scored = [
                (w, c) for w, c in zip(self.weights.values(), votes, strict=True) if c.is_scored
            ]
            odds = sum(w * SIGN[c.verdict()] for w, c in scored)
            usage = total_usage([c.usage for c in votes])
            combined.append(
                Comparison(odds, odds, "", usage)
                if scored
                else Comparison(None, None, "backend", usage)
            )
        return combined


def fit_panel(pairs: Sequence[Pair], comparisons: Mapping[str, Sequence[Comparison]]) -> Panel:
    """Weights from how each labeler does on calibration pairs."""
    scores = {name: right(pairs, said) for name, said in comparisons.items()}
    weights = {}
    for name, values in scores.items():
        wins, losses = float(values.sum()) + 1, float((1 - values).sum()) + 1
        weights[name] = math.log(wins / losses)
    return Panel(weights, effective_votes(list(scores.values()), list(weights.values())))


def effective_votes(scores: Sequence[Floats], weights: Sequence[float]) -> float:
    """How many independent votes would vary as little as these weighted ones, given how their
    errors go together.

    Kish's effective number with correlations: 1 / (p' R p), p the shares of the weights, R the
    correlations of being right. n labelers of equal weight that never err together count n, n
    copies of one count 1.
    """
    total = sum(abs(w) for w in weights)
    if total == 0 or not scores:
        return 0.0
    shares = np.array([abs(w) / total for w in weights])
    matrix = np.atleast_2d(np.cov(np.array(scores)))
    spread = np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
    correlations = np.divide(matrix, spread, out=np.zeros_like(matrix), where=spread > 0)
    np.fill_diagonal(correlations, 1.0)
    return float(1 / max(shares @ correlations @ shares, 1e-9))
