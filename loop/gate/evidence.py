"""Paired sequential tests with a bound on false promotions over the life of a run.

A unit is what was drawn independently (a document, a page's or a domain's documents); its gain d in
[-1, 1] is the mean over its items of clip((s_candidate - s_other) / B, -1, 1), where s is better
when larger. A test has the null

    E[d_i | past] <= bound,    x_i = d_i - bound,

with bound = delta0 (not better than the champion) or bound = -margin (worse than a reference by
more than a margin). With S and Q the sums of past x and past x^2,

    lambda_i = clip(S / (Q + 10 q), 0, 1 / (2 (1 + bound))),    E_n = product of (1 + lambda_i x_i).

lambda_i depends on the past alone and 1 + lambda_i x_i >= 1/2, so E_n is a nonnegative
supermartingale that starts at 1 under the null, and the chance that it ever reaches 1/a is at most
a (Ville 1939; the bets are those of Waudby-Smith and Ramdas 2024, arXiv:2010.09686). Levels a over
all attempts: `loop.gate.levels`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PSEUDO_UNITS = 10.0


@dataclass(frozen=True)
class GateRule:
    """The constants of a test."""

    reject_alpha: float = 0.05
    """Level at which the mirrored process rejects a candidate."""
    clip: float = 0.2
    """B, in the suite's own unit; near twice the gain aimed for has the most power."""
    bound: float = 0.0
    """Largest mean of the clipped gain that does not pass: delta0 of a primary test, minus the
    margin of a guard."""
    prior_second_moment: float = 0.1
    """q, a guess at the mean of x^2, worth ten units; it steadies the first bets and cannot break
    the bound."""


@dataclass(frozen=True)
class EvidenceResult:
    """The result of one test: pass, fail or open, with the evidence at the first crossing."""

    outcome: str
    num_units: int
    log_evidence: float
    log_evidence_worse: float
    log_threshold: float
    path: tuple[float, ...]
    """Log E after 1, 2, ... units, beyond the crossing too."""


def clipped_gains(candidate: Array, other: Array, clip: float) -> Array:
    """D from scores of the same items, larger is better."""
    return np.clip((candidate - other) / clip, -1.0, 1.0)


def unit_means(gains: Array, units: Sequence[Hashable]) -> Array:
    """The mean gain of each unit's items, units in the order in which they first come."""
    first: dict[Hashable, int] = {}
    indices = np.array([first.setdefault(unit, len(first)) for unit in units], dtype=np.intp)
    if not first:
        return np.zeros(0)
    return np.bincount(indices, weights=gains) / np.bincount(indices)


def log_evidence_path(x: Array, bound: float, prior_second_moment: float) -> Array:
    """Log E_n for n = 1, 2, ... of x = d - bound along the last axis (leading axes are independent
    streams).
    """
    past_sum = np.cumsum(x, axis=-1) - x
    past_squares = np.cumsum(x * x, axis=-1) - x * x
    bets = past_sum / (past_squares + PSEUDO_UNITS * prior_second_moment)
    bets = np.clip(bets, 0.0, 1.0 / (2.0 * (1.0 + bound)))
    return np.cumsum(np.log1p(bets * x), axis=-1)


def judge_gains(gains: Array, rule: GateRule, log_threshold: float) -> EvidenceResult:
    """The result on the units seen so far; the first crossing of a threshold decides."""
    better = log_evidence_path(gains - rule.bound, rule.bound, rule.prior_second_moment)
    worse = log_evidence_path(rule.bound - gains, -rule.bound, rule.prior_second_moment)
    passed = np.flatnonzero(better >= log_threshold)
    failed = np.flatnonzero(worse >= -np.log(rule.reject_alpha))
    first_passed = int(passed[0]) if passed.size else len(gains)
    first_failed = int(failed[0]) if failed.size else len(gains)
    last = min(first_passed, first_failed, len(gains) - 1)
    if last < 0:
        return EvidenceResult("open", 0, 0.0, 0.0, log_threshold, ())
    if first_passed < first_failed:
        outcome = "pass"
    else:
        outcome = "fail" if first_failed < len(gains) else "open"
    path = tuple(float(value) for value in better)
    return EvidenceResult(outcome, last + 1, path[last], float(worse[last]), log_threshold, path)
