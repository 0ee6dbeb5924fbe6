"""Paired sequential tests with a bound on false promotions over the life of a run.

A unit is what was drawn independently (a document, a page's or a domain's documents); its gain d in
[-1, 1] is the mean over its items of clip((s_candidate - s_other) / B, -1, 1), where s is better
when larger. A test has the null

    E[d_i | past] <= bound,    x_i = d_i - bound,

with bound = delta0 (not better than the champion) or bound = -margin (worse than a reference by
more than a margin). A bet lambda between 0 and 0.98 / (1 + bound) that depends on the past alone
multiplies the capital by 1 + lambda x_i >= 0.02, by at most 1 on average under the null. So the
capital of any such bets that starts at 1 is a nonnegative supermartingale under the null, and so is
the mean of several. The chance that it ever reaches 1/a is at most a (Ville 1939; Waudby-Smith and
Ramdas 2024, arXiv:2010.09686). Here it has two parts:

    E_n = 0.2 M_n + 0.8 G_n.

M is the mean over twelve fixed bets. G bets so that E reaches the threshold before the units that
were planned are used up (Browne 1999, "Reaching goals by a deadline"). A test without planned units
has M alone. Levels a over all attempts: `loop.gate.levels`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from judges.measuring.sequential import LARGEST_SHARE, log_mean_capital

Array = NDArray[np.float64]
FIXED_SHARES = tuple(LARGEST_SHARE * j / 12 for j in range(1, 13))
"""The fixed bets, as shares of 1 / (1 + bound)."""
FIXED_PART = 0.2
"""The share of the capital that the fixed bets start with; the rest bets for the goal."""
PRIOR_SQUARES = 0.1
"""Added to the sum of squared deviations of past x, so that the first bets have a variance."""


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


@dataclass(frozen=True)
class Goal:
    """What the evidence should reach, and when; to be fixed before the first unit is seen.

    Neither number can break the error bound. A test that gets fewer units than planned has less
    power.
    """

    log_threshold: float
    """The log E at which the test passes."""
    planned_units: int
    """Number of units that the test will have at most; 0 if that is not known."""


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


def log_evidence_path(x: Array, bound: float, goal: Goal | None = None) -> Array:
    """Log E_n for n = 1, 2, ... of x = d - bound along the last axis.

    Leading axes are independent streams. Without a goal, or without planned units, only the fixed
    bets are made.
    """
    fixed = log_mean_capital(x, [share / (1.0 + bound) for share in FIXED_SHARES])
    if goal is None or goal.planned_units < 1:
        return fixed
    seeking = _goal_path(x, bound, goal, fixed)
    return np.logaddexp(math.log(FIXED_PART) + fixed, math.log1p(-FIXED_PART) + seeking)


def _goal_path(x: Array, bound: float, goal: Goal, fixed: Array) -> Array:
    """Log capital of the part that bets for the goal, 0 at its start."""
    capital, path = np.zeros(x.shape[:-1]), np.zeros_like(x)
    total, squares = np.zeros_like(capital), np.zeros_like(capital)
    for i in range(min(x.shape[-1], goal.planned_units)):
        value = x[..., i]
        deviation = np.sqrt((PRIOR_SQUARES + squares - total**2 / (1 + i)) / (1 + i))
        scale = deviation * math.sqrt(goal.planned_units - i)
        before = fixed[..., i - 1] if i else np.zeros_like(capital)
        bets = _goal_bets(capital - _log_capital_needed(before, goal), scale)
        capital = capital + np.log1p(np.minimum(bets, LARGEST_SHARE / (1.0 + bound)) * value)
        path[..., i] = capital
        total, squares = total + value, squares + value**2
    path[..., goal.planned_units :] = capital[..., None]
    return path


def _log_capital_needed(fixed: Array, goal: Goal) -> Array:
    """Log of the capital with which the goal is reached, given that of the fixed bets.

    It is -inf if the fixed bets alone have reached it.
    """
    share = FIXED_PART * np.exp(np.minimum(fixed - goal.log_threshold, 50.0))
    with np.errstate(divide="ignore"):
        log_rest = np.log(np.maximum(1.0 - share, 0.0))
    return np.asarray(goal.log_threshold - math.log1p(-FIXED_PART) + log_rest)


def _goal_bets(log_share: Array, scale: Array) -> Array:
    """Bets for capital that is a share p of what is needed; 0 if it is all of it.

    A Brownian motion that has the deviation `scale` at the deadline, and no drift, reaches a level
    c scale before it with the chance 2 (1 - Phi(c)). With p equal to this chance, the bet is the
    derivative of log p by the motion's value: phi(c) / (1 - Phi(c)) / scale.
    """
    from scipy.special import ndtri_exp  # slow to import

    log_tail = np.minimum(log_share, 0.0) - math.log(2.0)
    distance = -ndtri_exp(log_tail)
    log_density = -0.5 * distance**2 - 0.5 * math.log(2.0 * math.pi)
    return np.where(log_share < 0.0, np.exp(log_density - log_tail) / scale, 0.0)


def judge_gains(
    gains: Array, rule: GateRule, log_threshold: float, planned_units: int = 0
) -> EvidenceResult:
    """The result on the units seen so far; the first crossing of a threshold decides.

    `planned_units` is the number of units that the test will have at most, fixed before the first
    one is seen; 0 if it is not known. A rejection has no deadline: it spares units.
    """
    goal = Goal(log_threshold, planned_units)
    better = log_evidence_path(gains - rule.bound, rule.bound, goal)
    worse = log_evidence_path(rule.bound - gains, -rule.bound)
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
