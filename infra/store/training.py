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

    def checkpoints(self) -> list[Checkpoint]:
        """All of them, the anchor first."""
        return self._records(Checkpoint, "SELECT * FROM checkpoint ORDER BY generation")

    def checkpoint_of(self, digest: str) -> Checkpoint | None:
        """The checkpoint with a digest."""
        found = self._records(Checkpoint, "SELECT * FROM checkpoint WHERE digest = ?", [digest])
        return found[0] if found else None

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

    def manifest(self, generation: int) -> list[tuple[str, str]]:
        """(kind, item id) of everything a generation was trained on."""
        return [
            (str(kind), str(item))
            for kind, item in self._rows("SELECT kind, item_id FROM manifest WHERE generation = ?", [generation])
        ]

    def add_train_steps(self, steps: Sequence[TrainStep]) -> None:
        """Store the metrics of optimiser steps."""
        self._add("train_step", TrainStep, steps, ["generation", "kind", "step"])

    def train_steps(self, generation: int) -> list[TrainStep]:
        """The optimiser steps of a generation."""
        return self._records(
            TrainStep, "SELECT * FROM train_step WHERE generation = ? ORDER BY kind, step", [generation]
        )
