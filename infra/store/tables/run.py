"""The run itself: facts about it, its stages, and what was dropped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from infra.records import now
from infra.store.database import TableGroup


class RunTables(TableGroup):
    """Facts about the run, its stages, and the records that stages dropped."""

    schema = "run"

    def facts(self) -> dict[str, str]:
        """All facts about the run, by key."""
        return dict(self._db.rows("SELECT key, value FROM run"))

    def set_fact(self, key: str, value: str) -> None:
        """Set one fact about the run."""
        self.set_facts({key: value})

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """Set several facts about the run, all of them or none."""
        with self._db.transaction():
            for key, value in facts.items():
                self._db.connection.execute("DELETE FROM run WHERE key = ?", [key])
                self._db.connection.execute("INSERT INTO run VALUES (?, ?)", [key, value])

    def start_stage(self, generation: int, name: str) -> None:
        """Record when a stage began; a resumed stage keeps its first start."""
        sql = "SELECT 1 FROM stage WHERE generation = ? AND name = ?"
        if not self._db.rows(sql, [generation, name]):
            self._db.connection.execute(
                "INSERT INTO stage VALUES (?, ?, ?, NULL, '{}')", [generation, name, now()]
            )

    def finish_stage(self, generation: int, name: str, summary: dict[str, Any]) -> None:
        """Record that a stage has finished, with its summary, and publish a snapshot."""
        self._db.connection.execute(
            "UPDATE stage SET finished_at = ?, summary = ? WHERE generation = ? AND name = ?",
            [now(), json.dumps(summary), generation, name],
        )
        self._db.publish_snapshot()

    def stage_summary(self, generation: int, name: str) -> dict[str, Any] | None:
        """The summary of a stage, None if it has not finished."""
        value = self._db.value(
            "SELECT summary FROM stage"
            " WHERE generation = ? AND name = ? AND finished_at IS NOT NULL",
            [generation, name],
        )
        return None if value is None else dict(json.loads(value))

    def finished_generations(self, name: str) -> list[int]:
        """The generations whose stage of this name has finished, in order."""
        sql = "SELECT generation FROM stage WHERE name = ? AND finished_at IS NOT NULL ORDER BY 1"
        return [int(generation) for (generation,) in self._db.rows(sql, [name])]

    def stage_times(self) -> list[tuple[int, str, datetime, datetime | None]]:
        """(generation, name, start, end) of every stage that has begun; its end is None before."""
        sql = "SELECT generation, name, started_at, finished_at FROM stage ORDER BY 1, started_at"
        return [(int(number), str(name), *times) for number, name, *times in self._db.rows(sql)]

    def summaries(self) -> list[tuple[int, str, str]]:
        """(generation, name, summary in JSON) of every stage, as it is stored."""
        return self._db.rows("SELECT generation, name, summary FROM stage ORDER BY 1, started_at")

    def note_drops(self, generation: int, stage: str, drops: Sequence[tuple[str, str]]) -> None:
        """Record the (reason, subject) pairs that a stage dropped; equal pairs count once."""
        rows = pa.table(
            {
                "generation": pa.array([generation] * len(drops), pa.int64()),
                "stage": pa.array([stage] * len(drops), pa.string()),
                "reason": pa.array([reason for reason, _ in drops], pa.string()),
                "subject": pa.array([subject for _, subject in drops], pa.string()),
            }
        )
        self._db.insert_new("dropped", rows, ["generation", "stage", "reason", "subject"])

    def dropped_subjects(self, generation: int, reason: str) -> set[str]:
        """The subjects that a generation dropped for a reason."""
        rows = self._db.rows(
            "SELECT subject FROM dropped WHERE generation = ? AND reason = ?", [generation, reason]
        )
        return {subject for (subject,) in rows}
