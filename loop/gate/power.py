"""How many held-out units the gate needs to accept a gain of a given size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loop.gate.evidence import GateRule, log_evidence_path

NUM_STREAMS = 1000
MAX_UNITS = 20_000
POWER = 0.9


@dataclass(frozen=True)
class Need:
    """Units that an attempt needs: `at_least` without noise, `usually` in nine runs of ten."""

    at_least: int | None
    usually: int | None
    """None if it is more than `MAX_UNITS`, or if no deviation was given."""


def units_needed(gain: float, deviation: float, rule: GateRule, log_threshold: float) -> Need:
    """Units until a test passes, if gains have this mean and standard deviation.

    Both are in the unit of the suite. Found by simulation with normal gains (1,000 streams, seed
    0), since with clipped gains the evidence has no closed form.
    """
    at_least = _noiseless(gain, rule, log_threshold)
    if at_least is None or deviation <= 0:
        return Need(at_least, None)
    return Need(at_least, _usually(gain, deviation, rule, log_threshold))


def _noiseless(gain: float, rule: GateRule, log_threshold: float) -> int | None:
    d = min(gain / rule.clip, 1.0)
    path = log_evidence_path(
        np.full(MAX_UNITS, d - rule.bound), rule.bound, rule.prior_second_moment
    )
    crossings = np.flatnonzero(path >= log_threshold)
    return int(crossings[0]) + 1 if crossings.size else None


def _usually(gain: float, deviation: float, rule: GateRule, log_threshold: float) -> int | None:
    """The 90th percentile of the first crossing; the simulation grows until it reaches it."""
    length = 64
    while length <= MAX_UNITS:
        draws = np.random.default_rng(0).normal(gain, deviation, (NUM_STREAMS, length))
        x = np.clip(draws / rule.clip, -1.0, 1.0) - rule.bound
        crossed = log_evidence_path(x, rule.bound, rule.prior_second_moment) >= log_threshold
        first = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, length + 1)
        needed = int(np.quantile(first, POWER, method="higher"))
        if needed <= length:
            return needed
        length *= 4
    return None
