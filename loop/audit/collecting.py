"""Finding and deleting models that are not needed any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.records import Checkpoint
from infra.store import Store
from infra.store.tables.registry import CHAMPION_ALIAS, COLLECTED


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
