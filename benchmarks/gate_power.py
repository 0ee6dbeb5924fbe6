"""Promotions of ten candidates by the gate's test and by others, on the same simulated gains.

    python -m benchmarks.gate_power [--runs 400] [--confseq confseq-0.0.11/src]

A run is ten attempts with fresh units. All candidates of a run have the same true gain, so with a
gain of 0 every promotion is false. Each cell has the mean number of promotions, `strict` before the
slash and `discovery` after it. Gains are shares of the clip, before they are clipped at 1.

The peers: the plug-in bets that the gate had before; a uniform mixture over 49 fixed bets; our
fixed bets without a deadline; `betting_mart` of confseq with its own bets for a known number of
units (on the first runs only: it takes one stream at a time); and a z test on all units. The z test
has no valid error level for gains that are not normal. confseq does not build everywhere, and its
compiled part is not needed: unpack `pip download confseq==0.0.11` and give its `src`, with its
packages `matplotlib` and `multiprocess` installed.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm

from benchmarks.results import append
from loop.gate.evidence import Array, Goal, log_evidence_path
from loop.gate.levels import LevelKind, attempt_level, log_threshold

ATTEMPTS, ALPHA = 10, 0.05
CONFSEQ_RUNS = 40
LEVELS: tuple[LevelKind, ...] = ("strict", "discovery")

Crossing = Callable[[Array, float], Array]
"""Streams of gains [R, N] and a level -> the unit at which each promotes, N + 1 if none does."""


@dataclass(frozen=True)
class Cell:
    shape: str
    gain: float
    spread: float
    units: int

    def draw(self, rng: np.random.Generator, runs: int) -> Array:
        """Clipped gains [R, N]; where the gain is 0, it is 0 after clipping too."""
        gains = self._clipped(rng, (runs, self.units))
        return gains if self.gain else np.clip(gains - self._clipping_bias, -1.0, 1.0)

    @cached_property
    def _clipping_bias(self) -> float:
        return float(self._clipped(np.random.default_rng(2), (1000, 1000)).mean())

    def _clipped(self, rng: np.random.Generator, size: tuple[int, int]) -> Array:
        noise = {
            "normal": lambda: rng.normal(0.0, 1.0, size),
            "skewed": lambda: rng.exponential(1.0, size) - 1.0,
            "skewed down": lambda: 1.0 - rng.exponential(1.0, size),
            "heavy-tailed": lambda: rng.standard_t(3, size) / math.sqrt(3.0),
        }[self.shape]()
        return np.clip(self.gain + self.spread * noise, -1.0, 1.0)


def first_crossing(path: Array, threshold: float) -> Array:
    """The unit at which a path first reaches its threshold, N + 1 if it does not."""
    crossed = path >= threshold
    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, path.shape[1] + 1)
    return np.asarray(first, dtype=np.float64)


def ours(gains: Array, level: float) -> Array:
    threshold = log_threshold(level)
    return first_crossing(log_evidence_path(gains, 0.0, Goal(threshold, gains.shape[1])), threshold)


def without_deadline(gains: Array, level: float) -> Array:
    return first_crossing(log_evidence_path(gains, 0.0), log_threshold(level))


def plug_in(gains: Array, level: float) -> Array:
    """The gate's bets before: the past mean over the past mean square, at most half of the cap."""
    past_sum = np.cumsum(gains, axis=1) - gains
    past_squares = np.cumsum(gains**2, axis=1) - gains**2
    bets = np.clip(past_sum / (past_squares + 1.0), 0.0, 0.5)
    return first_crossing(np.cumsum(np.log1p(bets * gains), axis=1), log_threshold(level))


def mixture(gains: Array, level: float) -> Array:
    """Uniform over 49 fixed bets from 0.02 to 0.98."""
    total = np.full(gains.shape, -np.inf)
    for bet in np.linspace(0.02, 0.98, 49):
        np.logaddexp(total, np.cumsum(np.log1p(bet * gains), axis=1), out=total)
    return first_crossing(total - math.log(49), log_threshold(level))


def z_test(gains: Array, level: float) -> Array:
    """Once, on all units."""
    count = gains.shape[1]
    error = gains.std(axis=1, ddof=1) / math.sqrt(count)
    is_passed = gains.mean(axis=1) > norm.ppf(1.0 - level) * error
    return np.asarray(np.where(is_passed, count, count + 1), dtype=np.float64)


def confseq_test() -> Crossing:
    vars(np)["float_"] = np.float64  # confseq was written for the numpy before 2.0
    betting = importlib.import_module("confseq.betting")
    predmix = importlib.import_module("confseq.predmix")

    def crossing(gains: Array, level: float) -> Array:
        def bets(x: Array, m: float) -> Array:
            del m
            return np.asarray(predmix.lambda_predmix_eb(x, alpha=level, fixed_n=len(x)))

        capital = [
            betting.betting_mart(
                (row + 1.0) / 2.0, 0.5, alpha=level, lambdas_fn_positive=bets, theta=1
            )
            for row in gains
        ]
        return first_crossing(np.log(np.maximum(capital, 1e-300)), log_threshold(level))

    return crossing


def promotions(test: Crossing, kind: LevelKind, cell: Cell, runs: int) -> tuple[float, float]:
    """(mean promotions of ten candidates, mean units that an attempt looks at)."""
    rng = np.random.default_rng(1)
    promoted, units = np.zeros(runs, dtype=np.int64), 0.0
    for attempt in range(1, ATTEMPTS + 1):
        gains = cell.draw(rng, runs)
        before = promoted.copy()
        for num_promoted in np.unique(before):
            chosen = before == num_promoted
            level = attempt_level(kind, ALPHA, attempt, int(num_promoted))
            first = test(gains[chosen], level)
            promoted[chosen] += first <= cell.units
            units += float(np.minimum(first, cell.units).sum())
    return float(promoted.mean()), units / (runs * ATTEMPTS)


def both_levels(test: Crossing, cell: Cell, runs: int) -> str:
    means = [promotions(test, kind, cell, runs)[0] for kind in LEVELS]
    return " / ".join(f"{mean:.3f}" if cell.gain == 0 else f"{mean:.2f}" for mean in means)


def units_used(cell: Cell, runs: int) -> str:
    """Ours and the mixture's, in `strict`."""
    counts = [promotions(test, "strict", cell, runs)[1] for test in (ours, mixture)]
    return " / ".join(f"{count:.0f}" for count in counts)


def cells() -> list[Cell]:
    grid = [
        Cell("normal", gain, spread, units)
        for gain in (0.0, 0.05, 0.1, 0.2, 0.4)
        for spread in (0.2, 0.4)
        for units in (16, 39, 100, 400)
    ]
    shapes = [
        Cell(shape, gain, spread, units)
        for shape in ("normal", "skewed", "skewed down", "heavy-tailed")
        for gain, spread, units in ((0.0, 0.3, 100), (0.1, 0.3, 100), (0.2, 0.4, 39))
    ]
    return list(dict.fromkeys([*grid, *shapes]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--confseq", default="", help="the folder `src` of confseq's sources")
    options = parser.parse_args()
    tests: dict[str, tuple[Crossing, int]] = {
        "Ratchet": (ours, options.runs),
        "uniform mixture": (mixture, options.runs),
        "plug-in bets (before)": (plug_in, options.runs),
        "Ratchet, no deadline": (without_deadline, options.runs),
        "z test": (z_test, options.runs),
    }
    if options.confseq:
        sys.path.insert(0, options.confseq)
        tests["confseq 0.0.11"] = (confseq_test(), min(CONFSEQ_RUNS, options.runs))
    rows = [
        [cell.shape, f"{cell.gain:g}", f"{cell.spread:g}", f"{cell.units}"]
        + [both_levels(test, cell, runs) for test, runs in tests.values()]
        + [units_used(cell, options.runs)]
        for cell in cells()
    ]
    names = ["gains", "gain", "deviation", "units", *tests, "units used, Ratchet / mixture"]
    append(f"Gate: promotions of ten candidates, {options.runs} runs", names, rows)


if __name__ == "__main__":
    main()
