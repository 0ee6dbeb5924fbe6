"""How many held-out units the gate needs to accept a gain of a given size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loop.gate.evidence import GateRule, Goal, log_evidence_path

MAX_VALUES = 400_000
"""Simulated gains of one number of units: the more units, the fewer streams."""
MAX_STREAMS, MIN_STREAMS = 1000, 100
MAX_UNITS = 20_000
POWER = 0.9
PRECISION = 0.03
"""The number of units is searched to this share of it."""


@dataclass(frozen=True)
class Need:
    """Units that an attempt needs: `at_least` without noise, `usually` in nine runs of ten."""

    at_least: int | None
    usually: int | None
    """None if it is more than `MAX_UNITS`, or if no deviation was given."""


def units_needed(gain: float, deviation: float, rule: GateRule, log_threshold: float) -> Need:
    """Units with which a test passes, if gains have this mean and standard deviation.

    Both are in the unit of the suite. `at_least` is what any bets need without noise. `usually` is
    found by simulation with normal gains (up to 1,000 streams, seed 0), since with clipped gains
    the evidence has no closed form; the test plans for exactly these units.
    """
    at_least = _noiseless(gain, rule, log_threshold)
    if at_least is None or deviation <= 0:
        return Need(at_least, None)
    return Need(at_least, _usually(gain, deviation, rule, log_threshold, at_least))


def _noiseless(gain: float, rule: GateRule, log_threshold: float) -> int | None:
    """The largest bet allowed at most multiplies the capital by 1 + x / (1 + bound) at a unit."""
    x = min(gain / rule.clip, 1.0) - rule.bound
    if x <= 0:
        return None
    needed = math.ceil(log_threshold / math.log1p(x / (1.0 + rule.bound)))
    return needed if needed <= MAX_UNITS else None


def _usually(
    gain: float, deviation: float, rule: GateRule, log_threshold: float, at_least: int
) -> int | None:
    """The number of units with which nine of ten streams pass, by doubling and halving."""
    low, high = at_least - 1, at_least
    while _power(gain, deviation, rule, Goal(log_threshold, high)) < POWER:
        if high == MAX_UNITS:
            return None
        low, high = high, min(2 * high, MAX_UNITS)
    while high - low > max(1.0, PRECISION * high):
        middle = (low + high) // 2
        if _power(gain, deviation, rule, Goal(log_threshold, middle)) < POWER:
            low = middle
        else:
            high = middle
    return high


def _power(gain: float, deviation: float, rule: GateRule, goal: Goal) -> float:
    """The share of streams that pass with the units of the goal."""
    count = max(MIN_STREAMS, min(MAX_STREAMS, MAX_VALUES // goal.planned_units))
    shape = (count, goal.planned_units)
    draws = np.random.default_rng(0).normal(gain, deviation, shape)
    x = np.clip(draws / rule.clip, -1.0, 1.0) - rule.bound
    path = log_evidence_path(x, rule.bound, goal)
    return float((path >= goal.log_threshold).any(axis=1).mean())
