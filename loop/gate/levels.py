"""At what level each attempt of a run is tested, so that the guarantee holds for all attempts
together.

strict      alpha / (k (k + 1)) at attempt k. These sum to alpha, so by the union bound the chance
of ever promoting
            a candidate that is not better is at most alpha.
discovery   alpha (R + 1) / (k (k + 1)), with R promotions before attempt k: e-LOND (Xu and Ramdas
2024).
            Of the promotions, at most the share alpha is false, in expectation. A run that makes
            progress tests the
            next candidate at a level that grows with what it has found.

Both hold whatever a candidate is made from, the outcomes of earlier attempts included: docs/gate.md
derives it.
"""

from __future__ import annotations

import math
from typing import Literal

LevelKind = Literal["strict", "discovery"]


def attempt_weight(attempt: int) -> float:
    """The share of alpha that is set aside for attempt k = 1, 2, ...: 1 / (k (k + 1)); all shares
    sum to 1.
    """
    assert attempt >= 1, attempt
    return 1.0 / (attempt * (attempt + 1))


def attempt_level(kind: LevelKind, alpha: float, attempt: int, num_promoted: int) -> float:
    """The level of attempt k after `num_promoted` promotions; below 1."""
    level = alpha * attempt_weight(attempt)
    return min(level * (num_promoted + 1), alpha) if kind == "discovery" else level


def log_threshold(level: float, num_looks_before: int = 0, num_outcomes: int = 2) -> float:
    """What log E must reach at a level.

    Where the same units were used for `num_looks_before` decisions, each of which let one of
    `num_outcomes` out, what is tested now is one of outcomes^looks candidates that this run could
    have come to; the union bound over them asks for ln(outcomes) more a look (the argument of Dwork
    et al. 2015, Science 349:636, and of the ladder of Blum and Hardt 2015).
    """
    return num_looks_before * math.log(num_outcomes) - math.log(level)
