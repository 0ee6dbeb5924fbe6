"""Tables of the gate: attempts, used held-out items, scores, tests and decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from infra.records import Decision, Document, Evaluation, GateTest, ItemScore, now
from infra.store.database import Database, TableGroup
from infra.store.tables.registry import RegistryTables

_UNITS = {
    "document": "document_id",
    "page": "url",
    "domain": """coalesce(
        (SELECT any_value(p.domain) FROM page p WHERE p.page_id = d.page_id), d.url
    )""",
}
_DOCUMENTS = "bits_per_byte"

# Draws whole units in an order that the salt decides, and at most `per_unit` items of each, also in
# an order that the salt decides.
_DRAW = """
INSERT INTO burned
WITH fresh AS (
    SELECT item_id, unit FROM {source} s WHERE NOT EXISTS (
        SELECT 1 FROM burned b
        WHERE b.suite = $suite AND b.unit = s.unit AND (NOT $reuse OR b.attempt = $attempt)
    )
), numbered AS (
    SELECT item_id, unit, md5($salt || unit) AS key, row_number() OVER (
        PARTITION BY unit ORDER BY md5($salt || item_id)
    ) AS item_number FROM fresh
), ordered AS (
    SELECT *, dense_rank() OVER (ORDER BY key, unit) AS unit_number
    FROM numbered WHERE item_number <= $per_unit
)
SELECT $attempt, $suite, $start + row_number() OVER (ORDER BY unit_number, item_number) - 1,
    item_id, unit
FROM ordered WHERE unit_number <= $count
"""

# The units that are left for an attempt, and how many of them its limit of items pays for.
_PLAN = """
INSERT INTO planned_units
WITH fresh AS (
    SELECT least(count(*), $per_unit) AS items FROM {source} s WHERE $reuse OR NOT EXISTS (
        SELECT 1 FROM burned b
        WHERE b.suite = $suite AND b.unit = s.unit AND b.attempt <> $attempt
    ) GROUP BY unit
)
SELECT $attempt, $suite,
    least(count(*), ceil($limit * count(*) / greatest(coalesce(sum(items), 0), 1)))
FROM fresh
"""


class GateTables(TableGroup):
    """Records a candidate before any held-out item is drawn for it, and marks drawn items as used.

    Used items are in the table `burned`.
    """

    schema = "gate"

    def __init__(self, database: Database, registry: RegistryTables) -> None:
        super().__init__(database)
        self._registry = registry

    def register_attempt(self, generation: int, candidate: str, champion: str) -> int:
        """The number (from 1) of the attempt to promote a candidate.

        An attempt that is resumed keeps its number.
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
        among: Sequence[str],
        reuse: bool = False,
    ) -> list[tuple[Document, str, int]]:
        """Draw up to `count` unused units of the gate pool: (document, unit, position).

        Only documents in `among` (ids) are drawn. A unit is a document, a page (its URL) or a
        registrable domain. At most `per_unit` documents of a unit are drawn, and the unit is never
        drawn again; with `reuse` every attempt draws the same units. Positions count from `start`.
        An attempt that was killed gets the documents that it has drawn before, without those
        forgotten since.
        """
        with self._drawable(among):
            source = _document_source(unit)
            return self._draw_documents(attempt, start, count, source, per_unit, salt, reuse)

    def _draw_documents(
        self,
        attempt: int,
        start: int,
        count: int,
        source: str,
        per_unit: int,
        salt: str,
        reuse: bool,
    ) -> list[tuple[Document, str, int]]:
        while drawn := self._draw(attempt, _DOCUMENTS, start, count, source, per_unit, salt, reuse):
            documents = self._db.records(
                Document,
                "SELECT * FROM document WHERE status = 'kept' AND list_contains(?, document_id)",
                [[item for item, _, _ in drawn]],
            )
            if documents:
                by_id = {document.document_id: document for document in documents}
                return [
                    (by_id[item], unit, position) for item, unit, position in drawn if item in by_id
                ]
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
        """Draw up to `count` units of a suite: (item_id, unit, position).

        `items` has the columns item_id and unit. Units are not drawn again in later attempts,
        except with `reuse`, where all attempts draw the same units in the same order.
        """
        self._db.connection.register("suite_items", items)
        try:
            per_unit = max(1, items.num_rows)
            return self._draw(attempt, suite, start, count, "suite_items", per_unit, salt, reuse)
        finally:
            self._db.connection.unregister("suite_items")

    def plan_documents(
        self,
        attempt: int,
        limit: int,
        unit: str,
        per_unit: int,
        among: Sequence[str],
        reuse: bool = False,
    ) -> int:
        """The number of units that `draw_documents` has for an attempt of `limit` documents.

        It is fixed by the first call, which must come before the first draw. If several documents
        of a unit are drawn, it is an estimate.
        """
        with self._drawable(among):
            source = _document_source(unit)
            return self._plan(attempt, _DOCUMENTS, source, limit, per_unit, reuse)

    @contextmanager
    def _drawable(self, among: Sequence[str]) -> Iterator[None]:
        """The documents that may be drawn, as the table `drawable`."""
        table = pa.table({"document_id": pa.array(among, pa.string())})
        self._db.connection.register("drawable", table)
        try:
            yield
        finally:
            self._db.connection.unregister("drawable")

    def plan_items(self, attempt: int, suite: str, limit: int, items: pa.Table, reuse: bool) -> int:
        """The number of units that `draw_items` has for an attempt of `limit` items.

        It is fixed by the first call, which must come before the first draw.
        """
        self._db.connection.register("suite_items", items)
        try:
            per_unit = max(1, items.num_rows)
            return self._plan(attempt, suite, "suite_items", limit, per_unit, reuse)
        finally:
            self._db.connection.unregister("suite_items")

    def planned_units(self, attempt: int, suite: str) -> int:
        """The number of units that was planned; 0 if none was."""
        query = "SELECT units FROM planned_units WHERE attempt = ? AND suite = ?"
        return int(self._db.value(query, [attempt, suite]) or 0)

    def _plan(
        self, attempt: int, suite: str, source: str, limit: int, per_unit: int, reuse: bool
    ) -> int:
        query = "SELECT 1 FROM planned_units WHERE attempt = ? AND suite = ?"
        with self._db.transaction():
            if not self._db.rows(query, [attempt, suite]):
                values = {
                    "attempt": attempt,
                    "suite": suite,
                    "limit": limit,
                    "per_unit": per_unit,
                    "reuse": reuse,
                }
                self._db.connection.execute(_PLAN.format(source=source), values)
        return self.planned_units(attempt, suite)

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
            "SELECT item_id, unit, position FROM burned"
            " WHERE attempt = ? AND suite = ? AND position >= ? ORDER BY position"
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
            (str(item), str(unit), int(position))
            for item, unit, position in self._db.rows(query, [attempt, suite, start])
        ]

    def add_item_scores(self, scores: Sequence[ItemScore]) -> None:
        """Store raw scores; an item that has a score keeps it."""
        self._db.add(
            "item_score", ItemScore, scores, ["attempt", "suite", "item_id", "model_digest"]
        )

    def item_scores(self, attempt: int, suite: str) -> list[ItemScore]:
        """Raw scores of one suite, in the order in which the items were drawn."""
        return self._db.records(
            ItemScore,
            "SELECT * FROM item_score WHERE attempt = ? AND suite = ?"
            " ORDER BY position, model_digest",
            [attempt, suite],
        )

    def add_evaluations(self, evaluations: Sequence[Evaluation]) -> None:
        """Store metrics of an attempt."""
        self._db.add(
            "evaluation", Evaluation, evaluations, ["attempt", "suite", "metric", "model_digest"]
        )

    def evaluations(self) -> list[Evaluation]:
        """All metrics of the run."""
        return self._db.records(
            Evaluation, "SELECT * FROM evaluation ORDER BY attempt, suite, metric, model_digest"
        )

    def add_gate_tests(self, tests: Sequence[GateTest]) -> None:
        """Store the tests of an attempt; a test that is stored already stays unchanged."""
        self._db.add("gate_test", GateTest, tests, ["attempt", "suite", "against"])

    def gate_tests(self, attempt: int) -> list[GateTest]:
        """The tests of an attempt."""
        return self._db.records(
            GateTest,
            "SELECT * FROM gate_test WHERE attempt = ? ORDER BY role DESC, suite, against",
            [attempt],
        )

    def all_gate_tests(self) -> list[GateTest]:
        """The tests of all attempts."""
        return self._db.records(
            GateTest, "SELECT * FROM gate_test ORDER BY attempt, role DESC, suite, against"
        )

    def candidate_digest(self, attempt: int) -> str:
        """The digest of an attempt's candidate."""
        return str(self._db.value("SELECT candidate FROM attempt WHERE attempt = ?", [attempt]))

    def add_decision(self, decision: Decision, aliases: Sequence[str] = ()) -> None:
        """Store a decision and move the aliases to its candidate, in one transaction.

        Does nothing if the generation has a decision already.
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
        """The decision about a generation's candidate, if there is one."""
        decisions = self._db.records(
            Decision, "SELECT * FROM decision WHERE generation = ?", [generation]
        )
        return decisions[0] if decisions else None

    def num_promoted(self, before: int) -> int:
        """Number of promotions in the attempts before this number."""
        return int(
            self._db.value(
                "SELECT count(*) FROM decision WHERE outcome = 'promote' AND attempt < ?", [before]
            )
        )


def _document_source(unit: str) -> str:
    return (
        f"(SELECT document_id AS item_id, {_UNITS[unit]} AS unit FROM document d"  # noqa: S608
        " WHERE status = 'kept' AND pool = 'gate'"
        " AND document_id IN (SELECT document_id FROM drawable))"
    )
