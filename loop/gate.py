"""The gate: a paired sequential test with a bound on false promotions that holds for the life of a run.

Unit i is a held-out document; s is minus its bits per byte and

    d_i = clip((s_candidate - s_champion) / B, -1, 1),    x_i = d_i - delta0.

The null is E[d_i | past] <= delta0. With S and Q the sums of past x and past x^2,

    lambda_i = clip(S / (Q + 10 q), 0, 1 / (2 (1 + delta0))),    E_n = product of (1 + lambda_i x_i).

lambda_i depends on the past alone and 1 + lambda_i x_i >= 1/2, so E_n is a nonnegative supermartingale
that starts at 1 under the null, and the chance that it ever reaches 1/a is at most a (Ville 1939; the
bets are those of Waudby-Smith and Ramdas 2024, arXiv:2010.09686). Attempt k of a run uses
a_k = alpha / (k (k + 1)), which sums to alpha: the chance of ever promoting a candidate that is not
better stays below alpha however many generations a run has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PSEUDO_UNITS = 10.0


@dataclass(frozen=True)
class GateRule:
    """The constants of the test."""

    alpha: float = 0.05
    """Chance, over the life of the run, of promoting a candidate that is not better."""
    reject_alpha: float = 0.05
    """Level at which the mirrored process calls a candidate worse."""
    clip_bits: float = 0.2
    """B, in bits per byte; near twice the gain aimed for has the most power."""
    delta0: float = 0.0
    """Smallest mean of the clipped gain that does not count as better."""
    prior_second_moment: float = 0.1
    """q, a guess at the mean of x^2, worth ten units; it steadies the first bets and cannot break the bound."""


@dataclass(frozen=True)
class Verdict:
    """How far the evidence goes: promote, reject or hold, at the unit where a threshold was first crossed."""

    outcome: str
    num_units: int
    log_evidence: float
    log_evidence_worse: float
    log_threshold: float


def attempt_alpha(alpha: float, attempt: int) -> float:
    """The level of attempt k = 1, 2, ...: alpha / (k (k + 1))."""
    assert attempt >= 1, attempt
    return alpha / (attempt * (attempt + 1))


def clipped_gains(candidate_bits: Array, champion_bits: Array, clip_bits: float) -> Array:
    """D from bits per byte of the same documents; positive where the candidate needs fewer bits."""
    return np.clip((champion_bits - candidate_bits) / clip_bits, -1.0, 1.0)


def log_evidence_path(x: Array, delta0: float, prior_second_moment: float) -> Array:
    """Log E_n for n = 1, 2, ... of units x along the last axis (leading axes are independent streams)."""
    past_sum = np.cumsum(x, axis=-1) - x
    past_squares = np.cumsum(x * x, axis=-1) - x * x
    bets = past_sum / (past_squares + PSEUDO_UNITS * prior_second_moment)
    bets = np.clip(bets, 0.0, 1.0 / (2.0 * (1.0 + delta0)))
    return np.cumsum(np.log1p(bets * x), axis=-1)


def judge_gains(gains: Array, rule: GateRule, attempt: int) -> Verdict:
    """The verdict on the gains seen so far; the first crossing decides, whatever comes after it."""
    better = log_evidence_path(gains - rule.delta0, rule.delta0, rule.prior_second_moment)
    worse = log_evidence_path(rule.delta0 - gains, rule.delta0, rule.prior_second_moment)
    threshold = -float(np.log(attempt_alpha(rule.alpha, attempt)))
    promoted = np.flatnonzero(better >= threshold)
    rejected = np.flatnonzero(worse >= -np.log(rule.reject_alpha))
    first_promoted = int(promoted[0]) if promoted.size else len(gains)
    first_rejected = int(rejected[0]) if rejected.size else len(gains)
    last = min(first_promoted, first_rejected, len(gains) - 1)
    if first_promoted < first_rejected:
        outcome = "promote"
    else:
        outcome = "reject" if first_rejected < len(gains) else "hold"
    if last < 0:
        return Verdict("hold", 0, 0.0, 0.0, threshold)
    return Verdict(outcome, last + 1, float(better[last]), float(worse[last]), threshold)
