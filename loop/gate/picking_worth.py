"""Does picking pay? The candidate of picked passages against that of random ones, unit by unit.

Unit i of the gate gives d_i in [-1, 1], the clipped gain of the picked candidate over the control.
The units of all generations follow each other, and each is used once. Three sequential tests run on
them at once, each as in `loop.gate.evidence`:

    pay      the null is E[d_i | past] <= 0
    cost     the null is E[d_i | past] >= 0
    useless  the null is E[d_i | past] >= worth, the smallest gain that picking is worth

The verdict is that of the first to cross 1 / alpha. (If the second crosses, so does the third; then
the verdict is the stronger one.) After a verdict all three begin anew, on the units that follow. So
after each verdict the next one is wrong with probability 2 alpha at most, whatever the number of
generations.
"""

from __future__ import annotations

import math

import numpy as np

from infra.records import PICKED, RANDOM, PickingTest
from infra.store import Store
from loop.gate.config import GateConfig
from loop.gate.estimates import by_position, clustered_mean_and_error, with_scores
from loop.gate.evidence import Array, clipped_gains, log_evidence_path, unit_means
from loop.gate.suites.base import Suite

PAY, COST, USELESS, OPEN = "pay", "cost", "useless", "open"


def last_verdict(store: Store, generation: int) -> str:
    """The last verdict on picking before a generation; `open` if there is none."""
    verdicts = [t.verdict for t in store.gate.picking_tests() if t.generation < generation]
    return next((one for one in reversed(verdicts) if one != OPEN), OPEN)


def picking_pays(store: Store, generation: int) -> bool:
    """Whether a generation picks its passages: nothing has shown that it does not pay."""
    return last_verdict(store, generation) in (PAY, OPEN)


def picking_test(
    store: Store, config: GateConfig, suite: Suite, generation: int
) -> PickingTest | None:
    """Test whether picking pays, with the units of all generations since the last verdict.

    None if the generation had no two such candidates, or if the suite uses its items again: then
    the units of two generations are not independent.
    """
    begin = max((t.generation for t in _verdicts(store, generation)), default=0)
    pairs = [p for p in store.gate.attempts_with(PICKED, RANDOM) if begin < p[0] <= generation]
    if suite.reuse or generation not in {number for number, *_ in pairs}:
        return None
    gains, units = list[float](), list[str]()
    for _, attempt, picked, drawn in pairs:
        rows = with_scores(
            by_position(store.gate.item_scores(attempt, suite.name)), [picked, drawn]
        )
        sign = 1.0 if suite.higher_is_better else -1.0
        gains += [sign * (values[picked] - values[drawn]) for _, values in rows]
        units += [unit for unit, _ in rows]
    return _test(generation, np.array(gains), units, suite.clip, config)


def _verdicts(store: Store, generation: int) -> list[PickingTest]:
    tests = store.gate.picking_tests()
    return [t for t in tests if t.generation < generation and t.verdict != OPEN]


def _test(
    generation: int, gains: Array, units: list[str], clip: float, config: GateConfig
) -> PickingTest:
    means = unit_means(clipped_gains(gains, np.zeros_like(gains), clip), units)
    worth = config.picking_worth_bits / clip
    pay = log_evidence_path(means, 0.0)
    cost = log_evidence_path(-means, 0.0)
    useless = log_evidence_path(worth - means, -worth)
    threshold = -math.log(config.alpha)
    mean, error = clustered_mean_and_error(gains.tolist(), units)
    return PickingTest(
        generation=generation,
        num_units=len(means),
        mean_gain=0.0 if len(means) == 0 else mean,
        standard_error=error,
        log_pay=_last(pay),
        log_cost=_last(cost),
        log_useless=_last(useless),
        log_threshold=threshold,
        verdict=_verdict(pay, cost, useless, threshold),
        pay_path=tuple(pay.tolist()),
        cost_path=tuple(cost.tolist()),
        useless_path=tuple(useless.tolist()),
    )


def _last(path: Array) -> float:
    return float(path[-1]) if path.size else 0.0


def _verdict(pay: Array, cost: Array, useless: Array, threshold: float) -> str:
    """The verdict of the first test that crosses; `open` if none does."""
    paid, lost = (np.flatnonzero(path >= threshold) for path in (pay, np.maximum(cost, useless)))
    if not paid.size and not lost.size:
        return OPEN
    if paid.size and (not lost.size or paid[0] < lost[0]):
        return PAY
    return COST if bool((cost >= threshold).any()) else USELESS
