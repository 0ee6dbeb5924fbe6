"""Does picking pay? The candidate of picked passages against that of random ones, over a run.

Unit i of a generation gives d_i in [-1, 1], the clipped gain of the picked candidate over the
control. On the units of a generation run four sequential tests, each as in `loop.gate.evidence`:
that the mean of d is above 0 (log E+), below 0 (E-), below `worth` (W-) and above it (W+).

These say which of the two candidates is better, beyond doubt where there are many units. But the
candidates are one draw of passages each, and how lucky a draw is counts as much as how it was drawn
(LOG.md). If picking says nothing, picked and random passages could be swapped, and so E+ and E-.
Hence 2 E+ / (E+ + E-) has the mean 1 then, and at most 1 if picking costs and the luck of draws is
symmetric: it is an e-value that no luck of one draw can make larger than 2. (The gate treats both
alike, so the number of units does not depend on which is which.) A verdict needs a product over
generations of at least 1 / `picking_alpha`:

    pay      the product of 2 E+ / (E+ + E-)
    cost     the product of 2 E- / (E+ + E-)
    useless  the product of 2 W- / (W+ + W-)

The e-values are hedged (`BETS`), so that one unlucky generation does not end a test. By Ville's
inequality each verdict is wrong with probability `picking_alpha` at most, if the luck of draws is
symmetric: for `useless` about a mean gain of `worth` or more. After a verdict all begin
anew, with the generations that follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.records import PICKED, RANDOM, PickingTest
from infra.store import Store
from loop.gate.config import GateConfig
from loop.gate.estimates import by_position, clustered_mean_and_error, with_scores
from loop.gate.evidence import Array, clipped_gains, log_evidence_path, unit_means
from loop.gate.rules import SuiteRule

BETS = ((0.75, 0.999), (0.25, 0.6))
"""(Share of the capital, what it bets of itself on each generation.) The first reaches a verdict
after three generations, the second recovers from one that speaks against it."""
PAY, COST, USELESS, OPEN = "pay", "cost", "useless", "open"


def last_verdict(store: Store, generation: int) -> str:
    """The last verdict on picking before a generation; `open` if there is none."""
    verdicts = [t.verdict for t in store.gate.picking_tests() if t.generation < generation]
    return next((one for one in reversed(verdicts) if one != OPEN), OPEN)


def picking_pays(store: Store, generation: int) -> bool:
    """Whether a generation picks its passages: nothing has shown that it does not pay."""
    return last_verdict(store, generation) in (PAY, OPEN)


@dataclass(frozen=True)
class _Round:
    """A generation's gains of picked over random passages, with the unit of each."""

    gains: list[float]
    units: list[str]


def picking_test(
    store: Store, config: GateConfig, suite: SuiteRule, generation: int
) -> PickingTest | None:
    """Test whether picking pays, with the units of all generations since the last verdict.

    None if the generation had no two such candidates, or if the suite uses its items again: then
    the units of two generations are not independent.
    """
    if suite.reuse:
        return None
    begin = max((t.generation for t in _verdicts(store, generation)), default=0)
    pairs = [p for p in store.gate.attempts_with(PICKED, RANDOM) if begin < p[0] <= generation]
    if generation not in {number for number, *_ in pairs}:
        return None
    rounds = list[_Round]()
    for _, attempt, picked, drawn in pairs:
        scores = by_position(store.gate.item_scores(attempt, suite.name))
        rows = with_scores(scores, [picked, drawn])
        gains = [suite.sign * (values[picked] - values[drawn]) for _, values in rows]
        rounds.append(_Round(gains, [unit for unit, _ in rows]))
    return _test(generation, rounds, suite, config)


def _verdicts(store: Store, generation: int) -> list[PickingTest]:
    tests = store.gate.picking_tests()
    return [t for t in tests if t.generation < generation and t.verdict != OPEN]


def _test(
    generation: int, rounds: Sequence[_Round], suite: SuiteRule, config: GateConfig
) -> PickingTest:
    clip = suite.clip
    worth = config.picking_worth_bits / clip
    means = [_unit_gains(one, clip) for one in rounds]
    pay, cost, useless = evidence_paths(means, worth)
    threshold = -math.log(config.picking_alpha)
    mean, error = clustered_mean_and_error(
        [gain for one in rounds for gain in one.gains],
        [unit for one in rounds for unit in one.units],
    )
    return PickingTest(
        generation=generation,
        suite=suite.name,
        clip=clip,
        num_units=sum(map(len, means)),
        mean_gain=0.0 if math.isnan(mean) else mean,
        standard_error=error,
        log_pay=_last(pay),
        log_cost=_last(cost),
        log_useless=_last(useless),
        log_threshold=threshold,
        verdict=_verdict(_last(pay), _last(cost), _last(useless), threshold),
        pay_path=tuple(pay.tolist()),
        cost_path=tuple(cost.tolist()),
        useless_path=tuple(useless.tolist()),
    )


def _unit_gains(one: _Round, clip: float) -> Array:
    gains = np.array(one.gains)
    return unit_means(clipped_gains(gains, np.zeros_like(gains), clip), one.units)


def evidence_paths(generations: Sequence[Array], worth: float) -> tuple[Array, Array, Array]:
    """Log evidence that picking pays, costs and is useless, after each unit of all generations.

    `generations` are the clipped gains of each one's units, `worth` is in the same unit.
    """
    signs = [evidence_shares(means, 0.0) for means in generations]
    below_worth = [evidence_shares(means, worth)[1] for means in generations]
    pay, cost = ([pair[k] for pair in signs] for k in (0, 1))
    return _product_path(pay), _product_path(cost), _product_path(below_worth)


def evidence_shares(means: Array, bound: float) -> tuple[Array, Array]:
    """Log e-values after each unit that the mean is above and below a bound of at least 0.

    They are twice the shares of the two sequential tests in their sum, so they add up to 2. Both
    make the same bets, with opposite signs.
    """
    above = log_evidence_path(means - bound, bound)
    below = log_evidence_path(bound - means, bound)
    total = np.logaddexp(above, below)
    return math.log(2) + above - total, math.log(2) + below - total


def _product_path(paths: Sequence[Array]) -> Array:
    """The log of the product over generations, as the units of each come in, by `BETS`."""
    total = np.full(sum(map(len, paths)), -np.inf)
    for capital, bet in BETS:
        hedged = [np.log(1 - bet + bet * np.exp(path)) for path in paths]
        ends = np.cumsum([0.0, *map(_last, hedged)])
        whole = np.concatenate([end + path for end, path in zip(ends, hedged, strict=False)])
        total = np.logaddexp(total, math.log(capital) + whole)
    return total


def _last(path: Array) -> float:
    return float(path[-1]) if path.size else 0.0


def _verdict(pay: float, cost: float, useless: float, threshold: float) -> str:
    """A gain that was shown, but to be smaller than what picking is worth, is useless."""
    if cost >= threshold:
        return COST
    if useless >= threshold:
        return USELESS
    return PAY if pay >= threshold else OPEN
