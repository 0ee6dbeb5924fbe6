"""Checking stored models and evidence again, and finding models that may be deleted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.artifacts import folder_digest
from infra.records import Checkpoint, GateTest, PickingTest
from infra.store import Store
from infra.store.tables.registry import CHAMPION_ALIAS, COLLECTED
from loop.data.curriculum import manifest_digest
from loop.gate.config import GateConfig
from loop.gate.estimates import by_position, with_scores
from loop.gate.evidence import Array, Goal, clipped_gains, log_evidence_path, unit_means
from loop.gate.picking_worth import recompute_picking

EVIDENCE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Finding:
    """The result of one check; `problem` is empty if nothing has changed."""

    subject: str
    problem: str


def verify(store: Store, config: GateConfig) -> list[Finding]:
    """Hash every model and manifest again; compute every test's evidence again from its scores."""
    models = store.training.checkpoints()
    return [
        *(_check_model(store, model) for model in models),
        *(_check_manifest(store, model) for model in models if model.generation > 0),
        *(_check_test(store, config, test) for test in store.gate.all_gate_tests()),
        *(_check_picking(store, config, test) for test in store.gate.picking_tests()),
    ]


def _name(model: Checkpoint) -> str:
    return f"generation {model.generation}" + (f", {model.arm}" if model.arm else "")


def _check_model(store: Store, model: Checkpoint) -> Finding:
    subject = f"model of {_name(model)}"
    if store.registry.is_collected(model.digest):
        return Finding(f"{subject} (deleted by gc)", "")
    if not Path(model.path).is_dir():
        return Finding(subject, f"its folder is gone ({model.path})")
    digest = folder_digest(Path(model.path))
    changed = f"its files changed: {digest[:12]}, not {model.digest[:12]}"
    return Finding(subject, "" if digest == model.digest else changed)


def _check_manifest(store: Store, model: Checkpoint) -> Finding:
    subject = f"data manifest of {_name(model)}"
    digest = manifest_digest(store.training.manifest(model.generation, model.arm))
    is_same = digest == model.manifest_digest
    return Finding(subject, "" if is_same else "items were added or removed")


def _check_picking(store: Store, config: GateConfig, test: PickingTest) -> Finding:
    subject = f"evidence of generation {test.generation} on picking"
    again = recompute_picking(store, config, test.generation, test.suite, test.clip)
    is_same = again is not None and again.verdict == test.verdict
    for name in ("pay_path", "cost_path", "useless_path"):
        old, new = getattr(test, name), getattr(again, name, ())
        is_same = is_same and len(old) == len(new)
        is_same = is_same and bool(np.allclose(old, new, rtol=0, atol=EVIDENCE_TOLERANCE))
    return Finding(subject, "" if is_same else "the stored scores give different evidence")


def _check_test(store: Store, config: GateConfig, test: GateTest) -> Finding:
    suite = f"{test.suite} against the {test.against}"
    subject = f"evidence of attempt {test.attempt} for {test.arm} on {suite}"
    path = recompute_evidence(store, config, test)
    is_same = len(path) == len(test.path) and bool(
        np.allclose(path, test.path, rtol=0, atol=EVIDENCE_TOLERANCE)
    )
    return Finding(subject, "" if is_same else "the stored scores give different evidence")


def recompute_evidence(store: Store, config: GateConfig, test: GateTest) -> Array:
    """Log E of a test after each unit, from the scores in the store."""
    candidate = store.gate.candidate_digests(test.attempt)[test.arm]
    scores = by_position(store.gate.item_scores(test.attempt, test.suite))
    items = with_scores(scores, [candidate, test.other])[: test.num_items]
    own = np.array([values[candidate] for _, values in items], dtype=np.float64)
    other = np.array([values[test.other] for _, values in items], dtype=np.float64)
    sign = 1.0 if config.higher_is_better(test.suite) else -1.0
    gains = clipped_gains(sign * own, sign * other, test.clip)
    means = unit_means(gains, [unit for unit, _ in items])
    bound = test.bound / test.clip
    goal = Goal(test.log_threshold, store.gate.planned_units(test.attempt, test.suite))
    return log_evidence_path(means - bound, bound, goal)


def collectable(store: Store, folder: Path, keep: int) -> list[Checkpoint]:
    """The models in the run's own folder that are no longer needed.

    Needed are the anchor, the last `keep` champions, the models of all aliases, and a candidate
    without a decision.
    """
    events = store.registry.alias_history()
    champions = [event.digest for event in events if event.alias == CHAMPION_ALIAS]
    last_champions = list(dict.fromkeys(reversed(champions)))[:keep]
    aliases = {event.digest for event in store.registry.aliases() if event.alias != COLLECTED}
    needed = {store.registry.champion().digest, *last_champions, *aliases}
    models = (folder / "models").resolve()
    return [
        model
        for model in store.training.checkpoints()
        if model.generation > 0
        and model.digest not in needed
        and models in Path(model.path).resolve().parents
        and store.gate.decision(model.generation) is not None
        and Path(model.path).is_dir()
        and not store.registry.is_collected(model.digest)
    ]


def collect(store: Store, model: Checkpoint) -> None:
    """Note that a model was deleted, then delete its folder."""
    store.registry.move_alias(COLLECTED, model, "nothing points to it")
    shutil.rmtree(model.path, ignore_errors=True)
