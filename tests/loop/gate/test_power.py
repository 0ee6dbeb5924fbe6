from __future__ import annotations

import math

import numpy as np
import pytest

from infra.errors import UserError
from loop.gate.evidence import GateRule, Goal, log_evidence_path
from loop.gate.power import POWER, units_needed
from loop.recipe.recipe import load_recipe

FIRST = math.log(40)


def test_a_planned_number_of_units_suffices_for_nine_runs_of_ten() -> None:
    need = units_needed(0.1, 0.2, GateRule(), FIRST)
    assert need.at_least is not None
    assert need.usually is not None
    assert need.at_least < need.usually
    fresh = np.random.default_rng(9).normal(0.1, 0.2, (4000, need.usually))
    path = log_evidence_path(np.clip(fresh / 0.2, -1, 1), 0.0, Goal(FIRST, need.usually))
    share = float((path >= FIRST).any(axis=1).mean())
    assert share == pytest.approx(POWER, abs=0.03)


def test_smaller_gains_more_noise_and_later_attempts_need_more() -> None:
    def usual(gain: float, deviation: float, threshold: float) -> int:
        num_units = units_needed(gain, deviation, GateRule(), threshold).usually
        assert num_units is not None
        return num_units

    base = usual(0.1, 0.2, FIRST)
    assert usual(0.05, 0.2, FIRST) > base
    assert usual(0.1, 0.3, FIRST) > base
    assert usual(0.1, 0.2, 2 * FIRST) > base


def test_no_bets_do_with_fewer_units_than_are_needed_without_noise() -> None:
    for gain in (0.02, 0.1, 0.2):
        at_least = units_needed(gain, 0.0, GateRule(), FIRST).at_least
        assert at_least is not None
        x = np.full(at_least + 10, gain / 0.2)
        assert np.sum(np.log1p(x[: at_least - 1])) < FIRST <= np.sum(np.log1p(x[:at_least]))
        assert log_evidence_path(x, 0.0, Goal(FIRST, at_least + 10))[at_least - 2] < FIRST


def test_no_gain_is_never_shown() -> None:
    assert units_needed(0.0, 0.1, GateRule(), FIRST).at_least is None
    assert units_needed(0.01, 0.1, GateRule(bound=0.1), FIRST).at_least is None


def test_a_recipe_that_could_never_promote_what_it_aims_for_is_refused() -> None:
    with pytest.raises(UserError, match=r"gate\.aim_bits") as caught:
        load_recipe("quickstart", ["gate.aim_bits=0.001"])
    assert "budget.gate_tokens pays for 39" in str(caught.value)
    assert (
        load_recipe(
            "quickstart", ["gate.aim_bits=0.001", "budget.gate_tokens=10000000"]
        ).gate.aim_bits
        == 0.001
    )
