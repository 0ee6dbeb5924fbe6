"""Attempts, held-out documents, scores and decisions."""

from __future__ import annotations

from collections.abc import Sequence

from infra.records import Decision, Document, Evaluation, ItemScore, now
from infra.store.base import StoreBase


class DecisionTables(StoreBase):
    """The candidate is written down before any held-out document is drawn; a drawn document is burned."""

    def register_attempt(self, generation: int, candidate: str, champion: str) -> int:
        """The number (from 1) of the attempt at promoting `candidate`; a resumed attempt keeps its number."""
        known = self._value("SELECT attempt FROM attempt WHERE generation = ?", [generation])
        if known is not None:
            same = self._value(
                "SELECT count(*) FROM attempt WHERE attempt = ? AND candidate = ? AND champion = ?",
                [known, candidate, champion],
            )
            assert same == 1, "a generation has one candidate"
            return int(known)
        attempt = int(self._value("SELECT coalesce(max(attempt), 0) + 1 FROM attempt"))
        self._connection.execute(
            "INSERT INTO attempt VALUES (?, ?, ?, ?, ?)", [attempt, generation, candidate, champion, now()]
        )
        return attempt

    def draw_held_out(self, attempt: int, start: int, count: int, salt: str) -> list[Document]:
        """Burn up to `count` fresh documents of the gate pool for positions `start`, `start` + 1, ...

        Positions that this attempt drew before (it was killed then) give the same documents again.
        """
        with self._transaction():
            drawn = int(
                self._value("SELECT count(*) FROM burned WHERE attempt = ? AND position >= ?", [attempt, start])
            )
            if drawn == 0:
                self._connection.execute(
                    "INSERT INTO burned SELECT ?, ? + row_number() OVER (ORDER BY md5(? || document_id)) - 1,"
                    " document_id FROM document d WHERE status = 'kept' AND pool = 'gate'"
                    " AND NOT EXISTS (SELECT 1 FROM burned b WHERE b.document_id = d.document_id)"
                    " ORDER BY md5(? || document_id) LIMIT ?",
                    [attempt, start, f"{salt}/{attempt}", f"{salt}/{attempt}", count],
                )
        return self._records(
            Document,
            "SELECT d.* FROM burned b JOIN document d USING (document_id)"
            " WHERE b.attempt = ? AND b.position >= ? ORDER BY b.position LIMIT ?",
            [attempt, start, count],
        )

    def add_item_scores(self, scores: Sequence[ItemScore]) -> None:
        """Store raw scores; the first score of an item stays."""
        self._add("item_score", ItemScore, scores, ["attempt", "suite", "item_id", "model_digest"])

    def item_scores(self, attempt: int, suite: str) -> list[ItemScore]:
        """Raw scores of one suite in the order in which the items were drawn."""
        return self._records(
            ItemScore,
            "SELECT * FROM item_score WHERE attempt = ? AND suite = ? ORDER BY position, model_digest",
            [attempt, suite],
        )

    def add_evaluations(self, evaluations: Sequence[Evaluation]) -> None:
        """Store metrics of an attempt."""
        self._add("evaluation", Evaluation, evaluations, ["attempt", "suite", "metric", "model_digest"])

    def evaluations(self) -> list[Evaluation]:
        """Every metric of the run."""
        return self._records(Evaluation, "SELECT * FROM evaluation ORDER BY attempt, suite, metric, model_digest")

    def add_decision(self, decision: Decision) -> None:
        """Record the gate's word; a second word on the same attempt changes nothing."""
        self._add("decision", Decision, [decision], ["attempt"])

    def decision(self, generation: int) -> Decision | None:
        """The decision on a generation's candidate, if it has been made."""
        found = self._records(Decision, "SELECT * FROM decision WHERE generation = ?", [generation])
        return found[0] if found else None
