"""Whether the store can be checked at all: its tables, a value in each column, and an anchor."""

from __future__ import annotations

from collections.abc import Iterator

from infra.store import Store
from infra.store.layout import empty_columns, layout_problems
from infra.store.tables.gate import AUDITED_TABLES
from loop.audit.findings import Finding

RESTORE = "restore the database from a backup"


def check_layout(store: Store) -> Iterator[Finding]:
    """What is missing or repeated in the tables; nothing if all is there."""
    problems = list(layout_problems(store.database))
    for subject, problem in problems:
        yield Finding(subject, f"{problem}: {RESTORE}")
    if problems:
        return
    for subject, number in empty_columns(store.database, AUDITED_TABLES):
        yield Finding(subject, f"it is empty in {number} rows: {RESTORE}")
    for table in store.gate.repeated_rows():
        yield Finding(f"rows of {table}", "some are there twice")


def check_anchor(store: Store) -> Iterator[Finding]:
    """A run that has any model, attempt or decision has its anchor; nothing if that is so."""
    models = store.training.checkpoints()
    is_used = models or store.gate.attempts() or store.gate.attempts_with_results()
    if is_used and not store.training.candidates(0):
        problem = "the row of its checkpoint is missing, so nothing can be compared with it"
        yield Finding("anchor (generation 0)", f"{problem}: {RESTORE}")
