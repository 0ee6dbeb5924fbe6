"""The registry checked again: aliases move by a promotion, or by a person who says why."""

from __future__ import annotations

from collections.abc import Iterator

from infra.records import AliasEvent
from infra.store import Store
from infra.store.tables.registry import CHAMPION_ALIAS, COLLECTED
from loop.audit.findings import Finding

BY_PERSON = (CHAMPION_ALIAS, COLLECTED)
"""The aliases that a command moves."""


def check_aliases(store: Store) -> Iterator[Finding]:
    """Check the events that no attempt explains; the others are checked with their attempt."""
    events = store.registry.alias_history()
    attempts = {row.attempt for row in store.gate.attempts()}
    numbers = [event.number for event in events]
    is_whole = numbers == list(range(1, len(events) + 1))
    yield Finding("history of the aliases", "" if is_whole else "events were removed or repeated")
    for event in events:
        if event.attempt not in attempts:
            subject = f"event {event.number} of the alias {event.alias}"
            yield Finding(subject, _problem(store, event))


def _problem(store: Store, event: AliasEvent) -> str:
    if event.attempt != 0:
        return f"there is no attempt {event.attempt}"
    if event.alias not in BY_PERSON:
        return "no attempt moved it, and no command can"
    model = store.training.checkpoint_by_digest(event.digest)
    if model is None or model.generation != event.generation:
        return "it points to a model that the run did not make"
    return "" if event.reason else "it has no reason"
