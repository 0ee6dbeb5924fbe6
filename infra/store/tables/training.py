"""Tables of training: checkpoints, manifests (what each generation is trained on), and metrics."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from infra.records import Checkpoint, DataFact, Sample, TrainStep
from infra.store.database import TableGroup

_CHECKPOINTS = """
SELECT c.* FROM checkpoint c LEFT JOIN decision d USING (generation, arm)
WHERE c.generation = ? AND (?::TEXT IS NULL OR c.arm = ?)
ORDER BY coalesce(d.is_lead, false) DESC, c.created_at, c.rowid LIMIT 1
"""


class TrainingTables(TableGroup):
    """Checkpoints, manifests, measures of the training data, and training metrics."""

    schema = "training"

    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Record a model folder on disk."""
        self._db.add("checkpoint", Checkpoint, [checkpoint], ["generation", "arm"])

    def checkpoint(self, generation: int, arm: str | None = None) -> Checkpoint | None:
        """The checkpoint of a generation's arm, if there is one; generation 0 is the anchor.

        Without an arm it is the one that stands for the generation: the promoted candidate, else
        the first one.
        """
        models = self._db.records(Checkpoint, _CHECKPOINTS, [generation, arm, arm])
        return models[0] if models else None

    def candidates(self, generation: int) -> list[Checkpoint]:
        """All candidates of a generation, in the order in which they were made."""
        sql = "SELECT * FROM checkpoint WHERE generation = ? ORDER BY created_at, rowid"
        return self._db.records(Checkpoint, sql, [generation])

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, the anchor first."""
        sql = "SELECT * FROM checkpoint ORDER BY generation, created_at, rowid"
        return self._db.records(Checkpoint, sql)

    def checkpoint_by_digest(self, digest: str) -> Checkpoint | None:
        """The checkpoint with a digest, if there is one."""
        sql = "SELECT * FROM checkpoint WHERE digest = ?"
        models = self._db.records(Checkpoint, sql, [digest])
        return models[0] if models else None

    def add_manifest(self, generation: int, arm: str, items: Sequence[tuple[str, str]]) -> None:
        """Record the items, (kind, item id), that a candidate is trained on."""
        rows = pa.table(
            {
                "generation": pa.array([generation] * len(items), pa.int64()),
                "arm": pa.array([arm] * len(items), pa.string()),
                "kind": pa.array([kind for kind, _ in items], pa.string()),
                "item_id": pa.array([item for _, item in items], pa.string()),
            }
        )
        self._db.insert_new("manifest", rows, ["generation", "arm", "kind", "item_id"])

    def manifest(self, generation: int, arm: str) -> list[tuple[str, str]]:
        """(kind, item id) of all items that a candidate was trained on."""
        return [
            (str(kind), str(item))
            for kind, item in self._db.rows(
                "SELECT kind, item_id FROM manifest WHERE generation = ? AND arm = ?",
                [generation, arm],
            )
        ]

    def manifest_generations(self) -> set[int]:
        """The generations that have a manifest."""
        rows = self._db.rows("SELECT DISTINCT generation FROM manifest")
        return {int(generation) for (generation,) in rows}

    def trained_samples_before(self, generation: int) -> list[Sample]:
        """Samples with a completion that earlier generations were trained on, unless forgotten."""
        sql = """
            SELECT * FROM sample s
            WHERE s.completion <> '' AND s.generation < ? AND EXISTS (
                SELECT 1 FROM manifest m
                WHERE m.item_id = s.sample_id AND m.generation < ? AND m.kind = s.kind
            )
            ORDER BY s.sample_id
        """
        return self._db.records(Sample, sql, [generation, generation])

    def parse_counts(self, generation: int) -> tuple[int, int]:
        """(answers that could be parsed, all answers) of a generation's labelers.

        Judgments of verifiers do not count, because they have no answer to parse.
        """
        rows = self._db.rows(
            "SELECT count(*) FILTER (status = 'scored'), count(*) FROM judgment"
            " WHERE generation = ? AND mode <> 'verify'",
            [generation],
        )
        return int(rows[0][0]), int(rows[0][1])

    def keep_counts(self, generation: int) -> tuple[int, int]:
        """(documents kept, all documents) of a generation's crawl."""
        rows = self._db.rows(
            "SELECT count(*) FILTER (status = 'kept'), count(*) FROM document WHERE generation = ?",
            [generation],
        )
        return int(rows[0][0]), int(rows[0][1])

    def add_data_facts(self, facts: Sequence[DataFact]) -> None:
        """Store measures of the training data; they replace earlier ones of the same candidate."""
        with self._db.transaction():
            for key in {(fact.generation, fact.arm) for fact in facts}:
                self._db.connection.execute(
                    "DELETE FROM data_fact WHERE generation = ? AND arm = ?", key
                )
            self._db.add("data_fact", DataFact, facts, ["generation", "arm", "name"])

    def add_train_steps(self, steps: Sequence[TrainStep]) -> None:
        """Store the metrics of optimiser steps."""
        self._db.add("train_step", TrainStep, steps, ["generation", "arm", "kind", "step"])

    def train_steps(self, generation: int, arm: str) -> list[TrainStep]:
        """The optimiser steps of a candidate."""
        return self._db.records(
            TrainStep,
            "SELECT * FROM train_step WHERE generation = ? AND arm = ? ORDER BY kind, step",
            [generation, arm],
        )
