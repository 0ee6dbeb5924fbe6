"""The registry checked again: aliases move by a promotion, or by a person who says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infra.records import AliasEvent
from infra.store import Store
from infra.store.tables.registry import CHAMPION_ALIAS, COLLECTED
from loop.audit.findings import Finding

BY_PERSON = (CHAMPION_ALIAS, COLLECTED)
"""The aliases that a command moves."""


def check_aliases(store: Store, folder: Path) -> Iterator[Finding]:
    """Check the link `champion` of a run's folder, and the events that no attempt explains.

    The others are checked with their attempt.
    """
    yield Finding("link champion", _link_problem(store, folder / "champion"))
    events = store.registry.alias_history()
    attempts = {row.attempt for row in store.gate.attempts()}
    numbers = [event.number for event in events]
    is_whole = numbers == list(range(1, len(events) + 1))
    yield Finding("history of the aliases", "" if is_whole else "events were removed or repeated")
    for event in events:
        if event.attempt not in attempts:
            subject = f"event {event.number} of the alias {event.alias}"
            yield Finding(subject, _problem(store, event))


def _link_problem(store: Store, link: Path) -> str:
    """A link that is missing is made by the next gate; a gate that was killed may owe a move."""
    event = store.registry.alias_event(CHAMPION_ALIAS)
    finished = {0, *store.run.finished_generations("gate")}
    is_due = event is None or event.attempt == 0 or event.generation in finished
    if not link.is_symlink():
        return "it is not a link" if link.exists() else ""
    champion = Path(store.registry.champion().path)
    if link.resolve() == champion.resolve() or not is_due:
        return ""
    return f"it points to {link.readlink()}, and the champion is {champion}"


def _problem(store: Store, event: AliasEvent) -> str:
    if event.attempt != 0:
        return f"there is no attempt {event.attempt}"
    if event.alias not in BY_PERSON:
        return "no attempt moved it, and no command can"
    model = store.training.checkpoint_by_digest(event.digest)
    if model is None or model.generation != event.generation:
        return "it points to a model that the run did not make"
    return "" if event.reason else "it has no reason"
