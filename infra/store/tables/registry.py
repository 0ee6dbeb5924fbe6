"""The registry of models: where the aliases (`champion`, `best:SUITE`) point, and their history."""

from __future__ import annotations

from datetime import datetime

from infra.records import AliasEvent, Checkpoint, now
from infra.store.database import TableGroup

CHAMPION_ALIAS = "champion"
COLLECTED = "collected"
"""An alias whose events record the models that were deleted."""


class RegistryTables(TableGroup):
    """Events that move aliases; an alias points where its last event moved it.

    The champion is the anchor until it has an event.
    """

    schema = "registry"

    def champion(self, at: datetime | None = None) -> Checkpoint:
        """The current champion, or the one at a time (UTC, without a time zone)."""
        model = self.alias(CHAMPION_ALIAS, at) or self._model(0)
        assert model is not None, "the anchor is recorded when a run is opened"
        return model

    def alias(self, name: str, at: datetime | None = None) -> Checkpoint | None:
        """The model that an alias points to, or pointed to at a time; None if it has no event."""
        event = self.alias_event(name, at)
        return None if event is None else self._model(event.generation, event.digest)

    def alias_event(self, name: str, at: datetime | None = None) -> AliasEvent | None:
        """The last event of an alias, or its last up to a time (UTC, without a time zone)."""
        events = self._db.records(
            AliasEvent,
            "SELECT * FROM alias_event WHERE alias = ? AND (?::TIMESTAMP IS NULL OR moved_at <= ?)"
            " ORDER BY number DESC LIMIT 1",
            [name, at, at],
        )
        return events[0] if events else None

    def aliases(self) -> list[AliasEvent]:
        """The last event of each alias."""
        return self._db.records(
            AliasEvent,
            "SELECT * FROM alias_event"
            " QUALIFY row_number() OVER (PARTITION BY alias ORDER BY number DESC) = 1"
            " ORDER BY alias",
        )

    def is_collected(self, digest: str) -> bool:
        """Whether the folder of a model was deleted."""
        return bool(
            self._db.value(
                "SELECT count(*) FROM alias_event WHERE alias = ? AND digest = ?",
                [COLLECTED, digest],
            )
        )

    def alias_history(self) -> list[AliasEvent]:
        """All events, oldest first."""
        return self._db.records(AliasEvent, "SELECT * FROM alias_event ORDER BY number")

    def move_alias(self, alias: str, model: Checkpoint, reason: str) -> None:
        """Move an alias to a model because a person asked for it."""
        with self._db.transaction():
            self.append_event(alias, model.digest, model.generation, reason, attempt=0)

    def append_event(
        self, alias: str, digest: str, generation: int, reason: str, attempt: int
    ) -> None:
        """Add an event. Runs inside the caller's transaction; `attempt` is 0 for a person."""
        number = int(self._db.value("SELECT coalesce(max(number), 0) + 1 FROM alias_event"))
        self._db.connection.execute(
            "INSERT INTO alias_event VALUES (?, ?, ?, ?, ?, ?, ?)",
            [number, alias, digest, generation, now(), reason, attempt],
        )

    def _model(self, generation: int, digest: str | None = None) -> Checkpoint | None:
        models = self._db.records(
            Checkpoint,
            "SELECT * FROM checkpoint WHERE generation = ? AND (?::TEXT IS NULL OR digest = ?)",
            [generation, digest, digest],
        )
        return models[0] if models else None
