"""Where champion and other aliases point, and have pointed at any time."""

from __future__ import annotations

from datetime import datetime

from infra.records import AliasEvent, Checkpoint, now
from infra.store.database import TableGroup

CHAMPION = "champion"
COLLECTED = "collected"
"""Points to each model that was deleted, at the time when it was."""


class RegistryTables(TableGroup):
    """An alias is the last of its events. Until it has any, the champion is the anchor."""

    schema = "registry"

    def champion(self) -> Checkpoint:
        """The model that is trained further and talked to."""
        found = self.alias(CHAMPION) or self._model(0)
        assert found is not None, "the anchor is recorded when a run is opened"
        return found

    def alias(self, name: str) -> Checkpoint | None:
        """The model that an alias points to; None where it never pointed anywhere."""
        event = self.alias_event(name)
        return None if event is None else self._model(event.generation, event.digest)

    def alias_event(self, name: str, at: datetime | None = None) -> AliasEvent | None:
        """The event that moved an alias to where it is, or was at some time (UTC, without a zone)."""
        found = self._db.records(
            AliasEvent,
            "SELECT * FROM alias_event WHERE alias = ? AND (?::TIMESTAMP IS NULL OR moved_at <= ?)"
            " ORDER BY number DESC LIMIT 1",
            [name, at, at],
        )
        return found[0] if found else None

    def aliases(self) -> list[AliasEvent]:
        """The last event of each alias."""
        return self._db.records(
            AliasEvent,
            "SELECT * FROM alias_event QUALIFY row_number() OVER (PARTITION BY alias ORDER BY number DESC) = 1"
            " ORDER BY alias",
        )

    def is_collected(self, digest: str) -> bool:
        """Whether a model's folder was deleted because nothing needed it."""
        return bool(
            self._db.value(
                "SELECT count(*) FROM alias_event WHERE alias = ? AND digest = ?",
                [COLLECTED, digest],
            )
        )

    def alias_history(self) -> list[AliasEvent]:
        """All events, the first one first."""
        return self._db.records(AliasEvent, "SELECT * FROM alias_event ORDER BY number")

    def move_alias(self, alias: str, model: Checkpoint, reason: str) -> None:
        """Point an alias at a model by a person's word."""
        with self._db.transaction():
            self.append_event(alias, model.digest, model.generation, reason, attempt=0)

    def append_event(
        self, alias: str, digest: str, generation: int, reason: str, attempt: int
    ) -> None:
        """Append an event; the caller has opened a transaction. `attempt` is 0 for a person."""
        number = int(self._db.value("SELECT coalesce(max(number), 0) + 1 FROM alias_event"))
        self._db.connection.execute(
            "INSERT INTO alias_event VALUES (?, ?, ?, ?, ?, ?, ?)",
            [number, alias, digest, generation, now(), reason, attempt],
        )

    def _model(self, generation: int, digest: str | None = None) -> Checkpoint | None:
        found = self._db.records(
            Checkpoint,
            "SELECT * FROM checkpoint WHERE generation = ? AND (?::TEXT IS NULL OR digest = ?)",
            [generation, digest, digest],
        )
        return found[0] if found else None
