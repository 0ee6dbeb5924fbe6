"""What a check of stored evidence finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from infra.records import ItemScore
from infra.store import Store
from loop.gate.estimates import ScoredItem, by_position

EVIDENCE_TOLERANCE = 1e-9


class StoredScores:
    """The scores of a run, each suite of an attempt read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[tuple[int, str], list[ItemScore]] = {}

    def rows(self, attempt: int, suite: str) -> list[ItemScore]:
        """All scores of a suite in an attempt, in the order in which its items were drawn."""
        key = attempt, suite
        if key not in self._rows:
            self._rows[key] = self._store.gate.item_scores(attempt, suite)
        return self._rows[key]

    def items(self, attempt: int, suite: str) -> dict[int, ScoredItem]:
        """The same by item."""
        return by_position(self.rows(attempt, suite))

    def by_model(self, attempt: int, suite: str, digest: str) -> dict[int, float]:
        """The scores of one model by position."""
        return {s.position: s.value for s in self.rows(attempt, suite) if s.model_digest == digest}


@dataclass(frozen=True)
class Finding:
    """The result of one check; `problem` is empty if nothing has changed."""

    subject: str
    problem: str


def changed_fields(stored: Any, again: Any) -> list[str]:
    """The fields in which two records of one type differ: `NAME is OLD, not NEW`.

    Numbers may differ by `EVIDENCE_TOLERANCE`, times may differ.
    """
    changes = []
    for field in fields(stored):
        old, new = getattr(stored, field.name), getattr(again, field.name)
        if not _is_same(old, new):
            changes.append(_change(field.name, old, new))
    return changes


def _is_same(old: Any, new: Any) -> bool:
    if isinstance(old, datetime):
        return True
    if isinstance(old, Sequence) and not isinstance(old, str):
        pairs = zip(old, new, strict=False)
        return len(old) == len(new) and all(_is_same(a, b) for a, b in pairs)
    if isinstance(old, float) and isinstance(new, float | int):
        close = math.isclose(old, new, rel_tol=EVIDENCE_TOLERANCE, abs_tol=EVIDENCE_TOLERANCE)
        return close or (math.isnan(old) and math.isnan(new))
    return bool(old == new)


def _change(name: str, old: Any, new: Any) -> str:
    if isinstance(old, Sequence) and not isinstance(old, str):
        return f"{name} differs"
    return f"{name} is {_shown(old)}, not {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return repr(value) if isinstance(value, str) else str(value)
