from __future__ import annotations

from infra.records import Checkpoint, Decision, PickingTest, now
from infra.store import Store
from loop.gate.trial.context import Rivals
from loop.stages.decide import gpu_shares, picking_gain


def model(generation: int) -> Checkpoint:
    return Checkpoint(f"digest-{generation}", "/nowhere", "", generation, "", "", 0, now())


def promote(store: Store, generation: int) -> Decision:
    digest = f"digest-{generation}"
    decision = Decision(
        generation, generation, "promote", "", digest, "", 0.05, 4.0, 3.7, 9, 0.1, False, now()
    )
    store.gate.add_decisions([decision], ["champion", "best:bits_per_byte"])
    return decision


def test_an_attempt_resumed_after_its_decision_has_the_rivals_that_it_had_before(
    store: Store,
) -> None:
    """A promotion has moved the aliases to the candidate; its reports compare with the others."""
    for generation in range(3):
        store.training.add_checkpoint(model(generation))
    suites = ("bits_per_byte", "answers")
    promote(store, 1)
    before = Rivals.at(store.registry, model(0), suites, None)
    decision = promote(store, 2)
    after = Rivals.at(store.registry, model(0), suites, decision)
    assert after.champion == before.champion
    assert after.best == before.best
    assert after.champion.generation == after.best["bits_per_byte"].generation == 1
    assert Rivals.at(store.registry, model(0), suites, None).champion.generation == 2


def test_gpus_are_shared_between_scorers_and_judges() -> None:
    assert gpu_shares(0, 1, 3) == (0.0, 0.0)
    assert gpu_shares(4, 4, 0)[0] == 1.0
    for gpus, scorers, judges in ((1, 1, 1), (1, 1, 3), (2, 4, 2), (8, 8, 1)):
        scorer, judge = gpu_shares(gpus, scorers, judges)
        assert scorer * scorers + judge * judges <= gpus + 1e-9
        assert scorer * max(1, scorers // gpus) + judge * judges <= 1.0 + 1e-9, "on one of the GPUs"


def test_the_gain_of_picking_has_an_error_where_it_has_two_units() -> None:
    errors = {1: float("nan"), 2: 0.02}
    one, two = (
        PickingTest(
            1, "exam", 0.2, count, 0.1, error, 0.0, 0.0, 0.0, 1.9, "open", (0.0,), (0.0,), (0.0,)
        )
        for count, error in errors.items()
    )
    assert picking_gain(one) == "0.1000 over one unit"
    assert picking_gain(two) == "0.1000 ± 0.0200 over 2 units"
