"""Tables of the gate: attempts, used held-out items, scores, tests and decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from infra.records import (
    AttemptRow,
    Checkpoint,
    Decision,
    Document,
    Evaluation,
    GateTest,
    ItemScore,
    PickingTest,
    now,
)
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

_KEYS = {
    "attempt": ["attempt", "arm"],
    "planned_units": ["attempt", "suite"],
    "burned": ["attempt", "suite", "position"],
    "item_score": ["attempt", "suite", "item_id", "model_digest"],
    "evaluation": ["attempt", "suite", "metric", "model_digest"],
    "gate_test": ["attempt", "arm", "suite", "against"],
    "decision": ["generation", "arm"],
    "picking_test": ["generation"],
    "alias_event": ["number"],
    "checkpoint": ["generation", "arm"],
    "manifest": ["generation", "arm", "kind", "item_id"],
    "run": ["key"],
    "stage": ["generation", "name"],
}
"""What no two rows of a table have in common."""
AUDITED_TABLES = tuple(_KEYS)
"""The tables that `ratchet verify` reads and that must have a value in each column."""

# Draws whole units in an order that the salt decides, and at most `per_unit` items of each, also in
# an order that the salt decides.
_ORDER = """
WITH fresh AS (
    SELECT item_id, unit FROM {source} s WHERE NOT EXISTS (
        SELECT 1 FROM burned b WHERE b.suite = $suite AND b.unit = s.unit
        AND (b.attempt = $resumed OR (NOT $reuse AND b.attempt < $attempt))
    )
), numbered AS (
    SELECT item_id, unit, md5($salt || unit) AS key, row_number() OVER (
        PARTITION BY unit ORDER BY md5($salt || item_id)
    ) AS item_number FROM fresh
), ordered AS (
    SELECT *, dense_rank() OVER (ORDER BY key, unit) AS unit_number
    FROM numbered WHERE item_number <= $per_unit
)
"""
_DRAW = f"""
INSERT INTO burned
{_ORDER}
SELECT $attempt, $suite, $start + row_number() OVER (ORDER BY unit_number, item_number) - 1,
    item_id, unit
FROM ordered WHERE unit_number <= $count
"""  # noqa: S608

_WHOLE_ORDER = f"{_ORDER} SELECT item_id, unit FROM ordered ORDER BY unit_number, item_number"  # noqa: S608

# The units that are left for an attempt, and how many of them its limit of items pays for.
_PLAN = """
WITH fresh AS (
    SELECT least(count(*), $per_unit) AS items FROM {source} s WHERE $reuse OR NOT EXISTS (
        SELECT 1 FROM burned b
        WHERE b.suite = $suite AND b.unit = s.unit AND b.attempt < $attempt
    ) GROUP BY unit
)
SELECT $attempt AS attempt, $suite AS suite,
    least(count(*), ceil($limit * count(*) / greatest(coalesce(sum(items), 0), 1)))
        AS units
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

    def register_attempt(self, candidates: Sequence[Checkpoint], champion: str) -> int:
        """The number (from 1) of the attempt to promote one of a generation's candidates.

        An attempt that is resumed keeps its number and its candidates.
        """
        generation = candidates[0].generation
        rows = sorted((one.arm, one.digest, champion) for one in candidates)
        known = self._db.rows(
            "SELECT attempt, arm, candidate, champion FROM attempt WHERE generation = ?"
            " ORDER BY arm",
            [generation],
        )
        if known:
            same = [tuple(row[1:]) for row in known] == rows
            assert same, "a resumed attempt has the same candidates"
            return int(known[0][0])
        attempt = int(self._db.value("SELECT coalesce(max(attempt), 0) + 1 FROM attempt"))
        with self._db.transaction():
            for arm, digest, other in rows:
                self._db.connection.execute(
                    "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?)",
                    [attempt, generation, arm, digest, other, now()],
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
                sql = f"INSERT INTO planned_units {_PLAN}"
                self._db.connection.execute(sql.format(source=source), values)
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
                    "resumed": attempt,
                    "salt": draw_salt(salt, suite, attempt, reuse),
                }
                self._db.connection.execute(_DRAW.format(source=source), values)
        return [
            (str(item), str(unit), int(position))
            for item, unit, position in self._db.rows(query, [attempt, suite, start])
        ]

    def draws(self) -> list[tuple[int, str]]:
        """(attempt, suite) of all draws that were planned or made."""
        sql = """
            SELECT attempt, suite FROM burned UNION SELECT attempt, suite FROM planned_units
            ORDER BY 1, 2
        """
        return [(int(attempt), str(suite)) for attempt, suite in self._db.rows(sql)]

    def document_units(self, unit: str, among: Sequence[str]) -> pa.Table:
        """(item_id, unit) of the documents of the gate pool in `among` (ids)."""
        with self._drawable(among):
            return self._db.connection.sql(
                f"SELECT item_id, unit FROM {_document_source(unit)}"  # noqa: S608
            ).to_arrow_table()

    def draw_again(
        self, attempt: int, suite: str, items: pa.Table, per_unit: int, salt: str, reuse: bool
    ) -> list[tuple[str, str]]:
        """(item_id, unit) of all that an attempt could draw, in order; nothing is drawn."""
        values = {
            "attempt": attempt,
            "suite": suite,
            "per_unit": per_unit,
            "reuse": reuse,
            "resumed": 0,
            "salt": draw_salt(salt, suite, attempt, reuse),
        }
        rows = self._from_items(_WHOLE_ORDER, items, values)
        return [(str(item), str(unit)) for item, unit in rows]

    def plan_again(
        self, attempt: int, suite: str, limit: int, items: pa.Table, per_unit: int, reuse: bool
    ) -> int:
        """The number of units that is planned for an attempt; nothing is stored."""
        values = {
            "attempt": attempt,
            "suite": suite,
            "limit": limit,
            "per_unit": per_unit,
            "reuse": reuse,
        }
        ((_, _, units),) = self._from_items(_PLAN, items, values)
        return int(units)

    def _from_items(
        self, sql: str, items: pa.Table, values: dict[str, object]
    ) -> list[tuple[Any, ...]]:
        self._db.connection.register("suite_items", items)
        try:
            return self._db.connection.execute(sql.format(source="suite_items"), values).fetchall()
        finally:
            self._db.connection.unregister("suite_items")

    def add_item_scores(self, scores: Sequence[ItemScore]) -> None:
        """Store raw scores; an item that has a score keeps it."""
        self._db.add("item_score", ItemScore, scores, _KEYS["item_score"])

    def item_scores(self, attempt: int, suite: str) -> list[ItemScore]:
        """Raw scores of one suite, in the order in which the items were drawn."""
        return self._db.records(
            ItemScore,
            "SELECT * FROM item_score WHERE attempt = ? AND suite = ?"
            " ORDER BY position, model_digest",
            [attempt, suite],
        )

    def scored_suites(self, attempt: int) -> list[str]:
        """The suites of which an attempt has scores."""
        sql = "SELECT DISTINCT suite FROM item_score WHERE attempt = ? ORDER BY suite"
        return [str(suite) for (suite,) in self._db.rows(sql, [attempt])]

    def add_evaluations(self, evaluations: Sequence[Evaluation]) -> None:
        """Store metrics of an attempt."""
        self._db.add("evaluation", Evaluation, evaluations, _KEYS["evaluation"])

    def evaluations(self) -> list[Evaluation]:
        """All metrics of the run."""
        return self._db.records(
            Evaluation, "SELECT * FROM evaluation ORDER BY attempt, suite, metric, model_digest"
        )

    def add_gate_tests(self, tests: Sequence[GateTest]) -> None:
        """Store the tests of an attempt; a test that is stored already stays unchanged."""
        self._db.add("gate_test", GateTest, tests, _KEYS["gate_test"])

    def gate_tests(self, attempt: int, arm: str | None = None) -> list[GateTest]:
        """The tests of an attempt, of all candidates or of one."""
        return self._db.records(
            GateTest,
            "SELECT * FROM gate_test WHERE attempt = ? AND (?::TEXT IS NULL OR arm = ?)"
            " ORDER BY arm, role DESC, suite, against",
            [attempt, arm, arm],
        )

    def attempts(self) -> list[AttemptRow]:
        """All candidates of all attempts."""
        return self._db.records(AttemptRow, "SELECT * FROM attempt ORDER BY attempt, arm")

    def attempts_with_results(self) -> set[int]:
        """The attempts that have drawn items, tests or decisions, registered or not."""
        sql = """
            SELECT attempt FROM burned UNION SELECT attempt FROM gate_test
            UNION SELECT attempt FROM item_score UNION SELECT attempt FROM decision
        """
        return {int(attempt) for (attempt,) in self._db.rows(sql) if attempt}

    def drawn_items(self, attempt: int, suite: str) -> set[tuple[int, str, str]]:
        """(position, item_id, unit) of what an attempt has drawn of a suite."""
        sql = "SELECT position, item_id, unit FROM burned WHERE attempt = ? AND suite = ?"
        return {(int(p), str(i), str(u)) for p, i, u in self._db.rows(sql, [attempt, suite])}

    def kept_ids(self) -> set[str]:
        """The ids of all documents that were not forgotten, and of the samples made from them."""
        sql = """
            SELECT document_id FROM document WHERE status = 'kept'
            UNION ALL SELECT s.sample_id FROM sample s JOIN document d USING (document_id)
            WHERE d.status = 'kept'
        """
        return {str(one) for (one,) in self._db.rows(sql)}

    def repeated_rows(self) -> list[str]:
        """The tables in which two rows have the same key."""
        sql = "SELECT 1 FROM {0} GROUP BY {1} HAVING count(*) > 1 LIMIT 1"
        return [
            table
            for table, key in _KEYS.items()
            if self._db.rows(sql.format(table, ", ".join(key)))
        ]

    def units_drawn_twice(self, attempt: int, suite: str) -> int:
        """The number of units of an attempt that an earlier attempt had drawn."""
        sql = """
            SELECT count(DISTINCT b.unit) FROM burned b JOIN burned e USING (suite, unit)
            WHERE b.attempt = ? AND b.suite = ? AND e.attempt < b.attempt
        """
        return int(self._db.value(sql, [attempt, suite]))

    def candidate_digests(self, attempt: int) -> dict[str, str]:
        """The digest of each candidate of an attempt, by arm."""
        sql = "SELECT arm, candidate FROM attempt WHERE attempt = ?"
        return {str(arm): str(digest) for arm, digest in self._db.rows(sql, [attempt])}

    def attempts_with(self, arm: str, other: str) -> list[tuple[int, int, str, str]]:
        """(generation, attempt, digest, other digest) of the attempts that tested both arms."""
        sql = """
            SELECT a.generation, a.attempt, a.candidate, b.candidate
            FROM attempt a JOIN attempt b USING (attempt)
            WHERE a.arm = ? AND b.arm = ? ORDER BY a.attempt
        """
        return self._db.rows(sql, [arm, other])

    def add_decisions(self, decisions: Sequence[Decision], aliases: Sequence[str] = ()) -> None:
        """Store the decisions about a generation's candidates, in one transaction.

        The aliases move to the candidate that stands for the generation, if it is among them. Does
        nothing if the generation has such a decision already.
        """
        lead = next((one for one in decisions if one.is_lead), None)
        with self._db.transaction():
            if lead and self.decision(lead.generation):
                return
            self._db.add("decision", Decision, decisions, _KEYS["decision"])
            if lead:
                self._move_aliases(aliases, lead)

    def _move_aliases(self, aliases: Sequence[str], lead: Decision) -> None:
        for alias in aliases:
            self._registry.append_event(
                alias, lead.candidate, lead.generation, lead.reason, lead.attempt
            )

    def decision(self, generation: int) -> Decision | None:
        """The decision that stands for a generation, if there is one."""
        decisions = self._db.records(
            Decision, "SELECT * FROM decision WHERE generation = ? AND is_lead", [generation]
        )
        return decisions[0] if decisions else None

    def lead_decisions(self) -> list[Decision]:
        """The decisions that stand for their generations, in order."""
        sql = "SELECT * FROM decision WHERE is_lead ORDER BY generation"
        return self._db.records(Decision, sql)

    def decisions(self, generation: int) -> list[Decision]:
        """The decisions about all candidates of a generation, the one that stands for it first."""
        return self._db.records(
            Decision,
            "SELECT * FROM decision WHERE generation = ? ORDER BY is_lead DESC, rowid",
            [generation],
        )

    def add_picking_test(self, test: PickingTest) -> None:
        """Store whether picking pays after a generation; a stored result stays unchanged."""
        self._db.add("picking_test", PickingTest, [test], _KEYS["picking_test"])

    def picking_tests(self) -> list[PickingTest]:
        """Whether picking pays, after each generation that had a control."""
        return self._db.records(PickingTest, "SELECT * FROM picking_test ORDER BY generation")

    def num_candidates(self, attempt: int) -> list[int]:
        """The number of candidates of each attempt up to this one, in order."""
        sql = "SELECT count(*) FROM attempt WHERE attempt <= ? GROUP BY attempt ORDER BY attempt"
        return [int(count) for (count,) in self._db.rows(sql, [attempt])]

    def num_promoted(self, before: int) -> int:
        """Number of promotions in the attempts before this number."""
        return int(
            self._db.value(
                "SELECT count(*) FROM decision WHERE outcome = 'promote' AND attempt < ?", [before]
            )
        )


def draw_salt(salt: str, suite: str, attempt: int, reuse: bool) -> str:
    """What a unit and an item of a draw are hashed with; the same in all draws with `reuse`."""
    return f"{salt}/{suite}/{'' if reuse else attempt}/"


def _document_source(unit: str) -> str:
    return (
        f"(SELECT document_id AS item_id, {_UNITS[unit]} AS unit FROM document d"  # noqa: S608
        " WHERE status = 'kept' AND pool = 'gate'"
        " AND document_id IN (SELECT document_id FROM drawable))"
    )
