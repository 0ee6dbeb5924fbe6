"""What two ways to need fewer units would bring: `python -m benchmarks.gate_variance`.

Draws without replacement (Waudby-Smith and Ramdas 2020, arXiv:2006.04347) test the mean of the pool
that is drawn from. The first table gives a candidate without any gain on the web, and pools that
are samples of that web; the second a file of items that is itself what is asked about.

A control variate is a score z of the champion and the anchor, whose mean over the web would have to
be known. A sound way to know it is to subtract the z of a further fresh document from that of each
unit: x = d - beta (z - z'). The third table spends the same documents with and without.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.gate_power import first_crossing, ours
from benchmarks.results import append
from loop.gate.evidence import FIXED_SHARES, Array, Goal, log_evidence_path

RUNS, LEVEL = 2000, 0.025
THRESHOLD = -math.log(LEVEL)


def pool_path(gains: Array, bound: float) -> Array:
    """Log evidence of fixed bets that the mean of the pool is above the bound; `gains` [R, N] are
    the whole pool in the order drawn."""
    num_units = gains.shape[1]
    past = np.cumsum(gains, axis=1) - gains
    left = num_units - np.arange(num_units)
    mean_left = (num_units * bound - past) / left
    # A mean that the units left cannot have: the pool's mean is known to be above the bound.
    is_certain = np.maximum.accumulate(mean_left <= -1.0, axis=1)
    x = np.where(is_certain, 0.0, gains - mean_left)
    total = np.full(gains.shape, -np.inf)
    for share in FIXED_SHARES:
        bets = share / np.maximum(1.0 + mean_left, 1e-9)
        np.logaddexp(total, np.cumsum(np.log1p(bets * x), axis=1), out=total)
    return np.where(is_certain, np.inf, total - math.log(len(FIXED_SHARES)))


def web_rows(rng: np.random.Generator) -> list[list[str]]:
    rows = []
    for num_units in (16, 39, 100, 400):
        gains = np.clip(rng.normal(0.0, 0.3, (RUNS, num_units)), -1.0, 1.0)
        pool = first_crossing(pool_path(gains, 0.0), THRESHOLD) <= num_units
        web = ours(gains, LEVEL) <= num_units
        rows.append([str(num_units), f"{pool.mean():.1%}", f"{web.mean():.1%}"])
    return rows


def file_rows(rng: np.random.Generator) -> list[list[str]]:
    """300 items; the candidate differs from the other model on a fifth of them."""
    rows = []
    for name, gain, bound in (("guard, equal", 0.0, -0.2), ("primary, gain 0.05", 0.05, 0.0)):
        chances = [0.1 - gain / 2, 0.8, 0.1 + gain / 2]
        gains = rng.choice([-1.0, 0.0, 1.0], (RUNS, 300), p=chances)
        goal = Goal(THRESHOLD, 300)
        paths = {
            "without replacement": pool_path(gains, bound),
            "fixed bets": log_evidence_path(gains - bound, bound),
            "Ratchet": log_evidence_path(gains - bound, bound, goal),
        }
        for test, path in paths.items():
            first = first_crossing(path, THRESHOLD)
            rows.append([name, test, f"{(first <= 300).mean():.1%}", f"{np.median(first):.0f}"])
    return rows


def control_rows(rng: np.random.Generator) -> list[list[str]]:
    """Gain 0.1, deviation 0.3, 100 documents; z has the deviation 1 and the best beta."""
    rows = []
    for correlation in (0.5, 0.8, 0.95):
        z, own = rng.normal(0.0, 1.0, (2, RUNS, 100))
        gains = 0.1 + 0.3 * (correlation * z + math.sqrt(1 - correlation**2) * own)
        plain = ours(np.clip(gains, -1.0, 1.0), LEVEL) <= 100
        beta = 0.3 * correlation / 2
        paired = gains[:, :50] - beta * (z[:, :50] - z[:, 50:])
        controlled = ours(np.clip(paired, -1.0, 1.0), LEVEL) <= 50
        rows.append([f"{correlation:g}", f"{plain.mean():.1%}", f"{controlled.mean():.1%}"])
    return rows


def main() -> None:
    rng = np.random.default_rng(0)
    append(
        f"Gate: no gain on the web, level {LEVEL:g}, {RUNS} pools",
        ["units in the pool", "test of the pool's mean promotes", "Ratchet promotes"],
        web_rows(rng),
    )
    append(
        f"Gate: a file of 300 items, level {LEVEL:g}, {RUNS} orders",
        ["test", "bets", "passes", "median items"],
        file_rows(rng),
    )
    append(
        f"Gate: control variates, gain 0.1 +- 0.3, 100 documents, {RUNS} runs",
        ["correlation of z and gain", "100 units", "50 units, each with a control document"],
        control_rows(rng),
    )


if __name__ == "__main__":
    main()
