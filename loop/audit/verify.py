"""Is everything still what its digest says, and what may be thrown away."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.artifacts import folder_digest
from infra.records import Checkpoint, GateTest
from infra.store import Store
from infra.store.tables.registry import CHAMPION, COLLECTED
from loop.data.curriculum import manifest_digest
from loop.gate.config import GateConfig
from loop.gate.estimates import by_position, with_scores
from loop.gate.evidence import Array, clipped_gains, log_evidence_path, unit_means

SAME = 1e-9


@dataclass(frozen=True)
class Finding:
    """What became of one thing that was checked; `problem` is empty where it is what it was."""

    what: str
    problem: str


def verify(store: Store, config: GateConfig) -> list[Finding]:
    """Hash every model and data manifest again, and compute every test's evidence again from the
    raw scores.
    """
    models = store.training.checkpoints()
    return [
        *(_check_model(store, model) for model in models),
        *(_check_manifest(store, model) for model in models if model.generation > 0),
        *(_check_test(store, config, test) for test in store.gate.all_gate_tests()),
    ]


def _check_model(store: Store, model: Checkpoint) -> Finding:
    what = f"model of generation {model.generation}"
    if store.registry.is_collected(model.digest):
        return Finding(f"{what} (collected)", "")
    if not Path(model.path).is_dir():
        return Finding(what, f"its folder is gone ({model.path})")
    found = folder_digest(Path(model.path))
    return Finding(
        what,
        ""
        if found == model.digest
        else f"its files changed: {found[:12]}, not {model.digest[:12]}",
    )


def _check_manifest(store: Store, model: Checkpoint) -> Finding:
    found = manifest_digest(store.training.manifest(model.generation))
    what = f"data manifest of generation {model.generation}"
    return Finding(what, "" if found == model.manifest_digest else "items were added or are gone")


def _check_test(store: Store, config: GateConfig, test: GateTest) -> Finding:
    what = f"evidence of attempt {test.attempt} on {test.suite} against the {test.against}"
    path = evidence_again(store, config, test)
    same = len(path) == len(test.path) and bool(np.allclose(path, test.path, rtol=0, atol=SAME))
    return Finding(what, "" if same else "the stored scores give other evidence")


def evidence_again(store: Store, config: GateConfig, test: GateTest) -> Array:
    """A test's log E after each unit, from the scores that the store holds."""
    candidate = store.gate.candidate_digest(test.attempt)
    rows = with_scores(by_position(store.gate.item_scores(test.attempt, test.suite)))[
        : test.num_items
    ]
    own, other = (
        np.array([values[d] for _, values in rows], dtype=np.float64)
        for d in (candidate, test.other)
    )
    sign = 1.0 if config.higher_is_better(test.suite) else -1.0
    gains = clipped_gains(sign * own, sign * other, test.clip)
    bound = test.bound / test.clip
    return log_evidence_path(
        unit_means(gains, [unit for unit, _ in rows]) - bound, bound, config.prior_second_moment
    )


def collectable(store: Store, folder: Path, keep: int) -> list[Checkpoint]:
    """Models in the run's own folder that nothing needs: all but the anchor, the last `keep`
    champions, what an alias points to, and a candidate that is not decided on.
    """
    champions = [
        event.digest for event in store.registry.alias_history() if event.alias == CHAMPION
    ]
    last = list(dict.fromkeys(reversed(champions)))[:keep]
    named = {event.digest for event in store.registry.aliases() if event.alias != COLLECTED}
    kept = {store.registry.champion().digest, *last, *named}
    found = []
    for model in store.training.checkpoints():
        own = (folder / "models").resolve() in Path(model.path).resolve().parents
        undecided = store.gate.decision(model.generation) is None
        there = Path(model.path).is_dir() and not store.registry.is_collected(model.digest)
        if model.generation > 0 and own and there and not undecided and model.digest not in kept:
            found.append(model)
    return found


def collect(store: Store, model: Checkpoint) -> None:
    """Note that a model is collected, then delete its folder."""
    store.registry.move_alias(COLLECTED, model, "nothing points to it")
    shutil.rmtree(model.path, ignore_errors=True)
