"""Checkpoints, training metrics and manifests."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from infra.records import Checkpoint, TrainStep
from infra.store.base import StoreBase


class TrainingTables(StoreBase):
    """What was trained, on what, and how it went."""

    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Record a model folder that lies on disk."""
        self._add("checkpoint", Checkpoint, [checkpoint], ["digest", "generation"])

    def checkpoint(self, generation: int) -> Checkpoint | None:
        """The checkpoint that a generation made; generation 0 is the anchor."""
        found = self._records(Checkpoint, "SELECT * FROM checkpoint WHERE generation = ?", [generation])
        return found[0] if found else None

    def checkpoint_of(self, digest: str) -> Checkpoint | None:
        """The checkpoint with a digest."""
        found = self._records(Checkpoint, "SELECT * FROM checkpoint WHERE digest = ?", [digest])
        return found[0] if found else None

    def champion(self) -> Checkpoint:
        """The checkpoint promoted last, or the anchor."""
        found = self._records(
            Checkpoint,
            "SELECT c.* FROM checkpoint c LEFT JOIN decision d"
            " ON d.generation = c.generation AND d.candidate = c.digest"
            " WHERE c.generation = 0 OR d.outcome = 'promote' ORDER BY c.generation DESC LIMIT 1",
        )
        assert found, "the anchor is recorded when a run is opened"
        return found[0]

    def add_manifest(self, generation: int, items: Sequence[tuple[str, str]]) -> None:
        """Record (kind, item id) of everything a generation is trained on."""
        rows = pa.table(
            {
                "generation": pa.array([generation] * len(items), pa.int64()),
                "kind": pa.array([kind for kind, _ in items], pa.string()),
                "item_id": pa.array([item for _, item in items], pa.string()),
            }
        )
        self._insert_new("manifest", rows, ["generation", "kind", "item_id"])

    def add_train_steps(self, steps: Sequence[TrainStep]) -> None:
        """Store the metrics of optimiser steps."""
        self._add("train_step", TrainStep, steps, ["generation", "kind", "step"])

    def train_steps(self, generation: int) -> list[TrainStep]:
        """The optimiser steps of a generation."""
        return self._records(
            TrainStep, "SELECT * FROM train_step WHERE generation = ? ORDER BY kind, step", [generation]
        )
