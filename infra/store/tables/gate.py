"""Attempts, held-out items, scores, tests and decisions."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from infra.records import Decision, Document, Evaluation, GateTest, ItemScore, now
from infra.store.database import Database, TableGroup
from infra.store.tables.registry import RegistryTables

_UNITS = {
    "document": "document_id",
    "page": "url",
    "domain": "coalesce((SELECT any_value(p.domain) FROM page p WHERE p.page_id = d.page_id), d.url)",
}
_DOCUMENTS = "bits_per_byte"

# Whole units in an order that the salt decides, and of each at most so many items in an order of
# their own.
_DRAW = """
INSERT INTO burned
WITH fresh AS (
    SELECT item_id, unit FROM {source} s WHERE NOT EXISTS (
        SELECT 1 FROM burned b WHERE b.suite = $suite AND b.unit = s.unit AND (NOT $reuse OR b.attempt = $attempt)
    )
), placed AS (
    SELECT item_id, unit, md5($salt || unit) AS key, row_number() OVER (
        PARTITION BY unit ORDER BY md5($salt || item_id)
    ) AS place FROM fresh
), ordered AS (
    SELECT *, dense_rank() OVER (ORDER BY key, unit) AS number FROM placed WHERE place <= $per_unit
)
SELECT $attempt, $suite, $start + row_number() OVER (ORDER BY number, place) - 1, item_id, unit
FROM ordered WHERE number <= $count
"""


class GateTables(TableGroup):
    """The candidate is written down before any held-out item is drawn; a drawn unit is burned."""

    schema = "gate"

    def __init__(self, database: Database, registry: RegistryTables) -> None:
        super().__init__(database)
        self._registry = registry

    def register_attempt(self, generation: int, candidate: str, champion: str) -> int:
        """The number (from 1) of the attempt at promoting `candidate`; a resumed attempt keeps its
        number.
        """
        known = self._db.value("SELECT attempt FROM attempt WHERE generation = ?", [generation])
        if known is not None:
            same = self._db.value(
                "SELECT count(*) FROM attempt WHERE attempt = ? AND candidate = ? AND champion = ?",
                [known, candidate, champion],
            )
            assert same == 1, "a generation has one candidate"
            return int(known)
        attempt = int(self._db.value("SELECT coalesce(max(attempt), 0) + 1 FROM attempt"))
        self._db.connection.execute(
            "INSERT INTO attempt VALUES (?, ?, ?, ?, ?)",
            [attempt, generation, candidate, champion, now()],
        )
        return attempt

    def draw_documents(
        self,
        attempt: int,
        start: int,
        count: int,
        unit: str,
        per_unit: int,
        salt: str,
        reuse: bool = False,
    ) -> list[tuple[Document, str, int]]:
        """Burn up to `count` fresh units of the gate pool for positions from `start` on: (document,
        unit, position).

        A unit is a document, a page (its URL) or a registrable domain; of each at most `per_unit`
        documents are drawn, and none of it ever again, but with `reuse`, where every attempt begins
        with the same ones. Positions that this attempt drew before (it was killed then) give the
        same documents again, but for what was forgotten since.
        """
        source = (
            f"(SELECT document_id AS item_id, {_UNITS[unit]} AS unit FROM document d"  # noqa: S608
            " WHERE status = 'kept' AND pool = 'gate')"
        )
        while drawn := self._draw(attempt, _DOCUMENTS, start, count, source, per_unit, salt, reuse):
            documents = self._db.records(
                Document,
                "SELECT * FROM document WHERE status = 'kept' AND list_contains(?, document_id)",
                [[item for item, _, _ in drawn]],
            )
            if documents:
                by_id = {document.document_id: document for document in documents}
                return [(by_id[item], unit, place) for item, unit, place in drawn if item in by_id]
            start = drawn[-1][2] + 1
        return []

    def draw_items(
        self,
        attempt: int,
        suite: str,
        start: int,
        count: int,
        items: pa.Table,
        salt: str,
        reuse: bool,
    ) -> list[tuple[str, str, int]]:
        """(item_id, unit, position) of up to `count` units of a suite's items, a table of two; see
        `draw_documents`.

        With `reuse` only units that this very attempt has drawn are left out, and the order is the
        same in each.
        """
        self._db.connection.register("suite_items", items)
        try:
            per_unit = max(1, items.num_rows)
            return self._draw(attempt, suite, start, count, "suite_items", per_unit, salt, reuse)
        finally:
            self._db.connection.unregister("suite_items")

    def _draw(
        self,
        attempt: int,
        suite: str,
        start: int,
        count: int,
        source: str,
        per_unit: int,
        salt: str,
        reuse: bool,
    ) -> list[tuple[str, str, int]]:
        query = (
            "SELECT item_id, unit, position FROM burned WHERE attempt = ? AND suite = ? AND position >= ?"
            " ORDER BY position"
        )
        with self._db.transaction():
            if not self._db.rows(query, [attempt, suite, start]):
                values = {
                    "attempt": attempt,
                    "suite": suite,
                    "start": start,
                    "count": count,
                    "per_unit": per_unit,
                    "reuse": reuse,
                    "salt": f"{salt}/{suite}/{'' if reuse else attempt}/",
                }
                self._db.connection.execute(_DRAW.format(source=source), values)
        return [
            (str(item), str(unit), int(place))
            for item, unit, place in self._db.rows(query, [attempt, suite, start])
        ]

    def num_fresh(self, unit: str) -> int:
        """Units of the gate pool that no attempt has drawn from."""
        return int(
            self._db.value(
                f"SELECT count(DISTINCT unit) FROM (SELECT {_UNITS[unit]} AS unit FROM document d"  # noqa: S608
                " WHERE status = 'kept' AND pool = 'gate') s"
                " WHERE NOT EXISTS (SELECT 1 FROM burned b WHERE b.suite = ? AND b.unit = s.unit)",
                [_DOCUMENTS],
            )
        )

    def add_item_scores(self, scores: Sequence[ItemScore]) -> None:
        """Store raw scores; the first score of an item stays."""
        self._db.add(
            "item_score", ItemScore, scores, ["attempt", "suite", "item_id", "model_digest"]
        )

    def item_scores(self, attempt: int, suite: str) -> list[ItemScore]:
        """Raw scores of one suite in the order in which the items were drawn."""
        return self._db.records(
            ItemScore,
            "SELECT * FROM item_score WHERE attempt = ? AND suite = ? ORDER BY position, model_digest",
            [attempt, suite],
        )

    def add_evaluations(self, evaluations: Sequence[Evaluation]) -> None:
        """Store metrics of an attempt."""
        self._db.add(
            "evaluation", Evaluation, evaluations, ["attempt", "suite", "metric", "model_digest"]
        )

    def evaluations(self) -> list[Evaluation]:
        """Every metric of the run."""
        return self._db.records(
            Evaluation, "SELECT * FROM evaluation ORDER BY attempt, suite, metric, model_digest"
        )

    def add_gate_tests(self, tests: Sequence[GateTest]) -> None:
        """Store the tests of an attempt; the first of a kind stays."""
        self._db.add("gate_test", GateTest, tests, ["attempt", "suite", "against"])

    def gate_tests(self, attempt: int) -> list[GateTest]:
        """The tests of an attempt."""
        return self._db.records(
            GateTest,
            "SELECT * FROM gate_test WHERE attempt = ? ORDER BY role DESC, suite, against",
            [attempt],
        )

    def all_gate_tests(self) -> list[GateTest]:
        """The tests of every attempt."""
        return self._db.records(
            GateTest, "SELECT * FROM gate_test ORDER BY attempt, role DESC, suite, against"
        )

    def candidate_digest(self, attempt: int) -> str:
        """The digest of what an attempt was made with."""
        return str(self._db.value("SELECT candidate FROM attempt WHERE attempt = ?", [attempt]))

    def add_decision(self, decision: Decision, aliases: Sequence[str] = ()) -> None:
        """Record the gate's word and move these aliases to the candidate, both or neither.

        A second word on the same generation changes nothing.
        """
        with self._db.transaction():
            if self._db.add("decision", Decision, [decision], ["generation"]):
                for alias in aliases:
                    self._registry.append_event(
                        alias,
                        decision.candidate,
                        decision.generation,
                        decision.reason,
                        decision.attempt,
                    )

    def decision(self, generation: int) -> Decision | None:
        """The decision about a generation's candidate."""
        found = self._db.records(
            Decision, "SELECT * FROM decision WHERE generation = ?", [generation]
        )
        return found[0] if found else None

    def num_promoted(self, before: int) -> int:
        """Promotions among the attempts before one."""
        return int(
            self._db.value(
                "SELECT count(*) FROM decision WHERE outcome = 'promote' AND attempt < ?", [before]
            )
        )
