"""The level of each attempt, so that the guarantee holds for all attempts of a run together.

strict: alpha / (k (k + 1)) at attempt k. These levels sum to alpha. By the union bound, the
probability of ever promoting a candidate that is not better is at most alpha.

discovery: alpha (R + 1) / (k (k + 1)), with R promotions before attempt k. This is e-LOND (Xu and
Ramdas 2024). Of the promotions, the share alpha at most is false, in expectation. The level grows
with the number of promotions.

Both hold whatever a candidate is made from, also from the outcomes of earlier attempts. The proof
is in docs/gate.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

LevelKind = Literal["strict", "discovery"]


def attempt_weight(attempt: int) -> float:
    """The share of alpha for attempt k = 1, 2, ...: 1 / (k (k + 1)). All shares sum to 1."""
    assert attempt >= 1, attempt
    return 1.0 / (attempt * (attempt + 1))


def attempt_level(kind: LevelKind, alpha: float, attempt: int, num_promoted: int) -> float:
    """The level of attempt k after `num_promoted` promotions; below 1."""
    level = alpha * attempt_weight(attempt)
    return min(level * (num_promoted + 1), alpha) if kind == "discovery" else level


def num_outcomes(num_candidates: int, num_reused: int) -> int:
    """The number of results that an attempt can show to later ones that use its items again.

    It shows which candidate it promoted, if any, and for each of the `num_reused` deciding suites
    that reuse their items whether that candidate was the new best on it.
    """
    return 1 + num_candidates * (1 << num_reused)


def log_threshold(level: float, outcomes: Sequence[int] = ()) -> float:
    """The threshold that log E must reach at a level.

    `outcomes` has an entry for each earlier decision on the same units: how many results it could
    show. The candidate of now is one of as many candidates as the product of these numbers, since
    the run could have made one for each history. The union bound over them adds ln(outcomes) for
    each decision (Dwork et al. 2015, Science 349:636; Blum and Hardt 2015, the ladder).
    """
    return sum(math.log(count) for count in outcomes) - math.log(level)
