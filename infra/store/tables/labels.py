"""Samples, judgments, completions and preferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.records import Completion, Document, Judgment, Preference, Sample
from infra.store.database import Database, TableGroup
from infra.store.tables.run import RunTables


class LabelTables(TableGroup):
    """Every `add_` is idempotent: a chunk delivered twice changes nothing."""

    schema = "labels"

    def __init__(self, database: Database, run: RunTables) -> None:
        super().__init__(database)
        self._run = run

    def add_samples(self, samples: Sequence[Sample]) -> int:
        """Store samples; the number that was new."""
        return self._db.add("sample", Sample, samples, ["sample_id"])

    def add_judgments(self, judgments: Sequence[Judgment]) -> int:
        """Store judgments; the number that was new."""
        return self._db.add("judgment", Judgment, judgments, ["judgment_id"])

    def add_completions(self, completions: Sequence[Completion]) -> int:
        """Store completions; the number that was new."""
        return self._db.add("completion", Completion, completions, ["completion_id"])

    def add_preferences(self, preferences: Sequence[Preference]) -> int:
        """Store preferences; the number that was new."""
        return self._db.add("preference", Preference, preferences, ["preference_id"])

    def documents_without_samples(self, pool: str, count: int, generation: int) -> list[Document]:
        """Up to `count` documents of a pool from which no earlier generation took a passage, newest
        first.
        """
        return self._db.records(
            Document,
            "SELECT * FROM document d WHERE status = 'kept' AND pool = ? AND NOT EXISTS ("
            " SELECT 1 FROM sample s WHERE s.document_id = d.document_id AND s.kind = 'passage' AND s.generation < ?)"
            " ORDER BY d.generation DESC, d.document_id LIMIT ?",
            [pool, generation, count],
        )

    def unlabeled_documents(self, pool: str, rubric: str) -> list[Document]:
        """Documents of a pool without a judgment by `rubric`, earliest generation first."""
        return self._db.records(
            Document,
            "SELECT * FROM document d WHERE status = 'kept' AND pool = ? AND NOT EXISTS ("
            " SELECT 1 FROM judgment j WHERE j.subject_id = d.document_id AND j.rubric = ?)"
            " ORDER BY d.generation, d.document_id",
            [pool, rubric],
        )

    def disputed_documents(self, pool: str, rubric: str) -> list[tuple[str, str, str]]:
        """(document_id, text, another extraction's text) of kept documents without a judgment by
        `rubric`.
        """
        return self._db.rows(
            "SELECT d.document_id, d.text, o.text FROM document d JOIN other_text o USING (document_id)"
            " WHERE d.status = 'kept' AND d.pool = ? AND NOT EXISTS (SELECT 1 FROM judgment j"
            " WHERE j.subject_id = d.document_id AND j.rubric = ?) ORDER BY d.document_id",
            [pool, rubric],
        )

    def set_aside_disputed(self, rubric: str, reason: str, generation: int) -> int:
        """Filter kept documents that were judged the worse of two extractions (value under a half);
        how many.
        """
        with self._db.transaction():
            urls = self._db.rows(
                "UPDATE document SET status = 'filtered', reason = ? WHERE status = 'kept' AND document_id IN"
                " (SELECT subject_id FROM judgment WHERE rubric = ? AND status = 'scored' AND value < 0.5)"
                " RETURNING url",
                [reason, rubric],
            )
            self._run.note_drops(generation, "label", [(reason, url) for (url,) in urls])
        return len(urls)

    def samples(self, generation: int, kind: str) -> list[Sample]:
        """Samples of one kind that a generation made, in a fixed order."""
        return self._db.records(
            Sample,
            "SELECT * FROM sample WHERE generation = ? AND kind = ? ORDER BY sample_id",
            [generation, kind],
        )

    def judgments(self, generation: int, rubric: str) -> list[Judgment]:
        """Judgments by one rubric that a generation made, in a fixed order."""
        return self._db.records(
            Judgment,
            "SELECT * FROM judgment WHERE generation = ? AND rubric = ? ORDER BY judgment_id",
            [generation, rubric],
        )

    def all_judgments(self, generation: int) -> list[Judgment]:
        """All judgments that a generation made, in a fixed order; 0 are those that measured
        labelers.
        """
        return self._db.records(
            Judgment,
            "SELECT * FROM judgment WHERE generation = ? ORDER BY judgment_id",
            [generation],
        )

    def drop_unscored(self, generation: int) -> None:
        """Take a generation's unscored judgments away, so that the items can be asked about again."""
        self._db.connection.execute(
            "DELETE FROM judgment WHERE generation = ? AND status <> 'scored'", [generation]
        )

    def labeled_generations(self) -> list[int]:
        """Generations that have made preferences or judgments."""
        return [
            g
            for (g,) in self._db.rows(
                "SELECT DISTINCT generation FROM judgment WHERE generation > 0 ORDER BY 1"
            )
        ]

    def completions(self, generation: int) -> list[Completion]:
        """Completions that a generation made, grouped by prompt."""
        return self._db.records(
            Completion,
            "SELECT * FROM completion WHERE generation = ? ORDER BY sample_id, index",
            [generation],
        )

    def preferences(self, generation: int) -> list[Preference]:
        """Preferences that a generation made, in a fixed order."""
        return self._db.records(
            Preference,
            "SELECT * FROM preference WHERE generation = ? ORDER BY preference_id",
            [generation],
        )

    def sample_domains(self, sample_ids: Sequence[str]) -> dict[str, str]:
        """Sample to the registrable domain of the page that it was taken from, for those that have
        one.
        """
        return dict(
            self._db.rows(
                "SELECT s.sample_id, p.domain FROM sample s JOIN document d USING (document_id) JOIN page p USING (page_id)"
                " WHERE list_contains(?, s.sample_id)",
                [list(sample_ids)],
            )
        )

    def label_counts(self, generation: int) -> list[tuple[str, str, str, int, float | None]]:
        """(rubric, labeler, status or reason, count, mean value of the scored) of a generation's
        judgments.
        """
        return self._db.rows(
            "SELECT rubric, labeler, CASE WHEN status = 'scored' THEN status ELSE reason END, count(*),"
            " avg(value) FILTER (status = 'scored') FROM judgment WHERE generation = ? GROUP BY ALL ORDER BY ALL",
            [generation],
        )

    def sample_counts(self, generation: int) -> dict[str, Any]:
        """Samples by kind and preferences of a generation."""
        counts: dict[str, Any] = dict(
            self._db.rows(
                "SELECT kind, count(*) FROM sample WHERE generation = ? GROUP BY kind", [generation]
            )
        )
        counts["preferences"] = self._db.value(
            "SELECT count(*) FROM preference WHERE generation = ?", [generation]
        )
        return counts
