"""Tables of labeling: samples, judgments, completions and preferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.records import Completion, Document, Judgment, Preference, Sample
from infra.store.database import Database, TableGroup
from infra.store.tables.run import RunTables


class LabelTables(TableGroup):
    """Samples and labels. Storing the same records twice changes nothing."""

    schema = "labels"

    def __init__(self, database: Database, run: RunTables) -> None:
        super().__init__(database)
        self._run = run

    def add_samples(self, samples: Sequence[Sample]) -> int:
        """Store samples; returns the number of new ones."""
        return self._db.add("sample", Sample, samples, ["sample_id"])

    def add_judgments(self, judgments: Sequence[Judgment]) -> int:
        """Store judgments; returns the number of new ones."""
        return self._db.add("judgment", Judgment, judgments, ["judgment_id"])

    def add_completions(self, completions: Sequence[Completion]) -> int:
        """Store completions; returns the number of new ones."""
        return self._db.add("completion", Completion, completions, ["completion_id"])

    def add_preferences(self, preferences: Sequence[Preference]) -> int:
        """Store preferences; returns the number of new ones."""
        return self._db.add("preference", Preference, preferences, ["preference_id"])

    def documents_without_samples(self, pool: str, count: int, generation: int) -> list[Document]:
        """Up to `count` documents without passages of earlier generations, newest first."""
        sql = """
            SELECT * FROM document d
            WHERE status = 'kept' AND pool = ? AND NOT EXISTS (
                SELECT 1 FROM sample s
                WHERE s.document_id = d.document_id AND s.kind = 'passage' AND s.generation < ?
            )
            ORDER BY d.generation DESC, d.document_id LIMIT ?
        """
        return self._db.records(Document, sql, [pool, generation, count])

    def unlabeled_documents(self, pool: str, rubric: str) -> list[Document]:
        """Documents of a pool without a judgment by a rubric, earliest generation first."""
        return self._db.records(
            Document,
            "SELECT * FROM document d WHERE status = 'kept' AND pool = ? AND NOT EXISTS ("
            " SELECT 1 FROM judgment j WHERE j.subject_id = d.document_id AND j.rubric = ?)"
            " ORDER BY d.generation, d.document_id",
            [pool, rubric],
        )

    def disputed_documents(self, pool: str, rubric: str) -> list[tuple[str, str, str]]:
        """(document_id, text, the other extractor's text) of documents that have both.

        Only kept documents without a judgment by `rubric`.
        """
        sql = """
            SELECT d.document_id, d.text, o.text
            FROM document d JOIN other_text o USING (document_id)
            WHERE d.status = 'kept' AND d.pool = ? AND NOT EXISTS (
                SELECT 1 FROM judgment j WHERE j.subject_id = d.document_id AND j.rubric = ?
            )
            ORDER BY d.document_id
        """
        return self._db.rows(sql, [pool, rubric])

    def set_aside_disputed(self, rubric: str, reason: str, generation: int) -> int:
        """Filter kept documents whose text was judged worse than the other extractor's.

        That is a value below 0.5. Returns their number.
        """
        sql = """
            UPDATE document SET status = 'filtered', reason = ?
            WHERE status = 'kept' AND document_id IN (
                SELECT subject_id FROM judgment
                WHERE rubric = ? AND status = 'scored' AND value < 0.5
            )
            RETURNING url
        """
        with self._db.transaction():
            urls = self._db.rows(sql, [reason, rubric])
            self._run.note_drops(generation, "label", [(reason, url) for (url,) in urls])
        return len(urls)

    def samples(self, generation: int, kind: str) -> list[Sample]:
        """A generation's samples of one kind, in a fixed order."""
        return self._db.records(
            Sample,
            "SELECT * FROM sample WHERE generation = ? AND kind = ? ORDER BY sample_id",
            [generation, kind],
        )

    def pool_samples(self, kind: str, pool: str) -> list[Sample]:
        """All samples of a kind that were made from kept documents of a pool, in a fixed order."""
        return self._db.records(
            Sample,
            "SELECT s.* FROM sample s JOIN document d USING (document_id)"
            " WHERE s.kind = ? AND d.pool = ? AND d.status = 'kept' ORDER BY s.sample_id",
            [kind, pool],
        )

    def judgments(self, generation: int, rubric: str) -> list[Judgment]:
        """A generation's judgments by one rubric, in a fixed order."""
        return self._db.records(
            Judgment,
            "SELECT * FROM judgment WHERE generation = ? AND rubric = ? ORDER BY judgment_id",
            [generation, rubric],
        )

    def all_judgments(self, generation: int) -> list[Judgment]:
        """All judgments of a generation, in a fixed order; those that measure labelers are in 0."""
        return self._db.records(
            Judgment,
            "SELECT * FROM judgment WHERE generation = ? ORDER BY judgment_id",
            [generation],
        )

    def drop_unscored(self, generation: int) -> None:
        """Delete a generation's unscored judgments, so that their subjects can be judged again."""
        self._db.connection.execute(
            "DELETE FROM judgment WHERE generation = ? AND status <> 'scored'", [generation]
        )

    def labeled_generations(self) -> list[int]:
        """The generations that have judgments, in ascending order."""
        sql = "SELECT DISTINCT generation FROM judgment WHERE generation > 0 ORDER BY 1"
        return [generation for (generation,) in self._db.rows(sql)]

    def completions(self, generation: int) -> list[Completion]:
        """A generation's completions, in order of prompt and index."""
        return self._db.records(
            Completion,
            "SELECT * FROM completion WHERE generation = ? ORDER BY sample_id, index",
            [generation],
        )

    def preferences(self, generation: int) -> list[Preference]:
        """A generation's preferences, in a fixed order."""
        return self._db.records(
            Preference,
            "SELECT * FROM preference WHERE generation = ? ORDER BY preference_id",
            [generation],
        )

    def sample_domains(self, sample_ids: Sequence[str]) -> dict[str, str]:
        """Sample to the registrable domain of its page; samples without a page are left out."""
        sql = """
            SELECT s.sample_id, p.domain
            FROM sample s JOIN document d USING (document_id) JOIN page p USING (page_id)
            WHERE list_contains(?, s.sample_id)
        """
        return dict(self._db.rows(sql, [list(sample_ids)]))

    def label_counts(self, generation: int) -> list[tuple[str, str, str, int, float | None]]:
        """(rubric, labeler, status or reason, count, mean value) of a generation's judgments.

        The mean value is None for unscored judgments.
        """
        sql = """
            SELECT rubric, labeler, CASE WHEN status = 'scored' THEN status ELSE reason END,
                count(*), avg(value) FILTER (status = 'scored')
            FROM judgment WHERE generation = ? GROUP BY ALL ORDER BY ALL
        """
        return self._db.rows(sql, [generation])

    def judged_tokens(self, generation: int, labeler: str) -> int:
        """Tokens of a labeler's judgments in a generation, without those that measured it."""
        sql = (
            "SELECT coalesce(sum(num_tokens), 0) FROM judgment WHERE generation = ? AND labeler = ?"
        )
        return int(self._db.value(sql, [generation, labeler]) or 0)

    def sample_counts(self, generation: int) -> dict[str, Any]:
        """Numbers of a generation's samples by kind, and of its preferences."""
        sql = "SELECT kind, count(*) FROM sample WHERE generation = ? GROUP BY kind"
        counts: dict[str, Any] = dict(self._db.rows(sql, [generation]))
        counts["preferences"] = self._db.value(
            "SELECT count(*) FROM preference WHERE generation = ?", [generation]
        )
        return counts
