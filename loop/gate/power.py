"""How many held-out units a gain needs before the gate believes it, and whether a recipe can come
by as many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loop.gate.evidence import GateRule, log_evidence_path

NUM_STREAMS = 1000
LARGEST = 20_000
POWER = 0.9


@dataclass(frozen=True)
class Need:
    """Units that an attempt needs: of a gain without any noise, and for nine runs of ten with it."""

    at_least: int | None
    usually: int | None
    """None: more than `LARGEST`, or not asked for because no deviation was given."""


def units_needed(gain: float, deviation: float, rule: GateRule, log_threshold: float) -> Need:
    """Units for a test to pass where a unit's gain has this mean and standard deviation, both in
    the suite's unit.

    By simulation with normal gains (1,000 streams, seed 0): the evidence has no closed form with
    clipped gains.
    """
    at_least = _noiseless(gain, rule, log_threshold)
    if at_least is None or deviation <= 0:
        return Need(at_least, None)
    return Need(at_least, _usually(gain, deviation, rule, log_threshold))


def _noiseless(gain: float, rule: GateRule, log_threshold: float) -> int | None:
    d = min(gain / rule.clip, 1.0)
    path = log_evidence_path(np.full(LARGEST, d - rule.bound), rule.bound, rule.prior_second_moment)
    found = np.flatnonzero(path >= log_threshold)
    return int(found[0]) + 1 if found.size else None


def _usually(gain: float, deviation: float, rule: GateRule, log_threshold: float) -> int | None:
    """The 90th percentile of the unit of the first crossing; windows grow until it lies within one."""
    length = 64
    while length <= LARGEST:
        draws = np.random.default_rng(0).normal(gain, deviation, (NUM_STREAMS, length))
        x = np.clip(draws / rule.clip, -1.0, 1.0) - rule.bound
        crossed = log_evidence_path(x, rule.bound, rule.prior_second_moment) >= log_threshold
        first = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, length + 1)
        needed = int(np.quantile(first, POWER, method="higher"))
        if needed <= length:
            return needed
        length *= 4
    return None
