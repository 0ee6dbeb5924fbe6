"""Does picking pay: verdicts on known gains, and how often they are wrong without a difference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from infra.records import PICKED, RANDOM, ItemScore, PickingTest
from infra.store import Store
from loop.gate.aim import AimConfig
from loop.gate.config import GateConfig
from loop.gate.picking_worth import last_verdict, picking_pays, picking_test
from loop.gate.suites.held_out_text import HeldOutBits
from tests.infra.support.store_rows import candidate

CONFIG = GateConfig()


def suite(store: Store, config: GateConfig = CONFIG) -> HeldOutBits:
    return HeldOutBits(store, config, AimConfig(), 10_000, "salt")


def add_generation(store: Store, generation: int, gains: list[float]) -> None:
    """A generation whose picked candidate needs fewer bits than the control by these gains."""
    picked, drawn = (candidate(f"{arm}{generation}", generation, arm) for arm in (PICKED, RANDOM))
    attempt = store.gate.register_attempt([picked, drawn], "champion")
    values = {picked.digest: [1.0 - g for g in gains], drawn.digest: [1.0] * len(gains)}
    store.gate.add_item_scores(
        [
            ItemScore(
                attempt, "bits_per_byte", f"{attempt}/{i}", i, name, row[i], 9, "", f"{attempt}/{i}"
            )
            for name, row in values.items()
            for i in range(len(gains))
        ]
    )


def verdicts(store: Store, generations: list[list[float]]) -> list[str]:
    """The verdict after each generation, as a run stores them."""
    results = []
    for generation, gains in enumerate(generations, start=1):
        add_generation(store, generation, gains)
        test = picking_test(store, CONFIG, suite(store), generation)
        assert test is not None
        store.gate.add_picking_test(test)
        results.append(test.verdict)
    return results


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.15, "pay"), (-0.15, "cost"), (0.0, "useless"), (0.009, "open")]
)
def test_the_verdict_follows_the_gain(store: Store, gain: float, verdict: str) -> None:
    steady = [gain] * (600 if gain == 0.0 else 40)
    assert verdicts(store, [steady]) == [verdict]


def test_evidence_of_several_generations_adds_up(store: Store) -> None:
    few = [0.05, 0.03, 0.04, 0.06, 0.05] * 2
    assert verdicts(store, [few, few, few]) == ["open", "open", "pay"]
    assert [test.num_units for test in store.gate.picking_tests()] == [10, 20, 30]


def test_picking_pays_until_a_verdict_says_otherwise_and_again_after_the_next(store: Store) -> None:
    bad, good = [-0.15] * 40, [0.15] * 40
    assert picking_pays(store, 1), "innocent until shown otherwise"
    assert verdicts(store, [bad, [0.0] * 5, good, [0.0] * 5]) == ["cost", "open", "pay", "open"]
    assert [picking_pays(store, k) for k in range(1, 6)] == [True, False, False, True, True]
    assert last_verdict(store, 2) == "cost"


def test_the_tests_begin_anew_after_a_verdict(store: Store) -> None:
    verdicts(store, [[-0.15] * 40, [0.15] * 6])
    second = store.gate.picking_tests()[1]
    assert second.num_units == 6
    assert second.mean_gain == pytest.approx(0.15)


def test_a_generation_without_a_control_has_no_test(store: Store) -> None:
    store.gate.register_attempt([candidate("alone", 1)], "champion")
    assert picking_test(store, CONFIG, suite(store), 1) is None


def test_items_that_are_used_again_make_no_test(store: Store) -> None:
    add_generation(store, 1, [0.1] * 30)
    reused = GateConfig(reuse_documents=True)
    assert picking_test(store, reused, suite(store, reused), 1) is None


def test_labels_of_coin_tosses_are_rarely_blamed_or_praised_by_mistake() -> None:
    """Four generations of thirty units without a difference: pay or cost are wrong verdicts."""
    rng = np.random.default_rng(3)
    wrong, runs = 0, 150
    for _ in range(runs):
        store = Store(":memory:")
        gains = [(0.1 * rng.standard_normal(30)).tolist() for _ in range(4)]
        wrong += bool({"pay", "cost"} & set(verdicts(store, gains)))
        store.close()
    assert binomtest(wrong, runs, 2 * CONFIG.alpha, alternative="greater").pvalue > 1e-3


def test_a_stored_result_stays_as_it_is(store: Store) -> None:
    first = PickingTest(1, 3, 0.1, 0.01, 1.0, 0.0, 0.0, 3.0, "open", (1.0,), (0.0,), (0.0,))
    store.gate.add_picking_test(first)
    store.gate.add_picking_test(PickingTest(1, 9, 0, 0, 0, 0, 0, 3.0, "cost", (), (), ()))
    assert store.gate.picking_tests() == [first]
