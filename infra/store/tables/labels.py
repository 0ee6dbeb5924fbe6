"""Samples, judgments, completions, preferences, and what is known of the labelers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from infra.records import Completion, Document, Judgment, Preference, Sample
from infra.records.arrow import rows_table
from infra.records.labeler import Admission, Datasheet, GoldItem, Head, ProbeResult, WinRate
from infra.store.connection import StoreBase

_SURPRISE = pa.schema(
    [
        ("generation", pa.int64()),
        ("model_digest", pa.string()),
        ("sample_id", pa.string()),
        ("bits_per_byte", pa.float64()),
    ]
)


class LabelTables(StoreBase):
    """Every `add_` is idempotent: a chunk delivered twice changes nothing."""

    def add_samples(self, samples: Sequence[Sample]) -> int:
        """Store samples; the number that was new."""
        return self._add("sample", Sample, samples, ["sample_id"])

    def add_judgments(self, judgments: Sequence[Judgment]) -> int:
        """Store judgments; the number that was new."""
        return self._add("judgment", Judgment, judgments, ["judgment_id"])

    def add_completions(self, completions: Sequence[Completion]) -> int:
        """Store completions; the number that was new."""
        return self._add("completion", Completion, completions, ["completion_id"])

    def add_preferences(self, preferences: Sequence[Preference]) -> int:
        """Store preferences; the number that was new."""
        return self._add("preference", Preference, preferences, ["preference_id"])

    def add_datasheet(
        self, results: Sequence[ProbeResult], admissions: Sequence[Admission]
    ) -> None:
        """Store how a labeler did on its probes, with the admissions that follow from it."""
        with self._transaction():
            self._add("probe_result", ProbeResult, results, ["result_id"])
            self._add("admission", Admission, admissions, ["admission_id"])

    def add_gold_sheet(
        self, sheet: Datasheet, items: Sequence[GoldItem], rows: Sequence[Judgment]
    ) -> None:
        """Store a datasheet with what it is computed from; a new one takes the place of one on the
        same pairs.
        """
        with self._transaction():
            for table in ("datasheet", "gold_item"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE datasheet_id = ?",
                    [sheet.datasheet_id],  # noqa: S608
                )
            ids = [item.judgment_id for item in items]
            self._connection.execute(
                "DELETE FROM judgment WHERE list_contains(?, judgment_id)", [ids]
            )
            self._add("datasheet", Datasheet, [sheet], ["datasheet_id"])
            self._add("gold_item", GoldItem, items, ["datasheet_id", "part", "place"])
            self._add("judgment", Judgment, rows, ["judgment_id"])

    def gold_evidence(self, datasheet_id: str) -> tuple[list[GoldItem], list[Judgment]]:
        """What a datasheet is computed from."""
        items = self._records(
            GoldItem,
            "SELECT * FROM gold_item WHERE datasheet_id = ? ORDER BY part, place",
            [datasheet_id],
        )
        rows = self._records(
            Judgment,
            "SELECT j.* FROM judgment j SEMI JOIN (SELECT judgment_id FROM gold_item WHERE datasheet_id = ?) g"
            " USING (judgment_id) ORDER BY judgment_id",
            [datasheet_id],
        )
        return items, rows

    def gold_sheets(self) -> list[Datasheet]:
        """Every datasheet of the run."""
        return self._records(Datasheet, "SELECT * FROM datasheet ORDER BY labeler, rubric, gold")

    def admissions(self, labeler: str) -> list[Admission]:
        """What a labeler may label by."""
        return self._records(
            Admission, "SELECT * FROM admission WHERE labeler = ? ORDER BY rubric", [labeler]
        )

    def tested_probes(self, labeler: str) -> list[ProbeResult]:
        """How a labeler did on the test halves of its probes, in every way of asking."""
        return self._records(
            ProbeResult,
            "SELECT * FROM probe_result WHERE labeler = ? AND half = 'test' ORDER BY result_id",
            [labeler],
        )

    def documents_without_samples(self, pool: str, count: int, generation: int) -> list[Document]:
        """Up to `count` documents of a pool from which no earlier generation took a passage, newest
        first.
        """
        return self._records(
            Document,
            "SELECT * FROM document d WHERE status = 'kept' AND pool = ? AND NOT EXISTS ("
            " SELECT 1 FROM sample s WHERE s.document_id = d.document_id AND s.kind = 'passage' AND s.generation < ?)"
            " ORDER BY d.generation DESC, d.document_id LIMIT ?",
            [pool, generation, count],
        )

    def unlabeled_documents(self, pool: str, rubric: str) -> list[Document]:
        """Documents of a pool without a judgment by `rubric`, earliest generation first."""
        return self._records(
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
        return self._rows(
            "SELECT d.document_id, d.text, o.text FROM document d JOIN other_text o USING (document_id)"
            " WHERE d.status = 'kept' AND d.pool = ? AND NOT EXISTS (SELECT 1 FROM judgment j"
            " WHERE j.subject_id = d.document_id AND j.rubric = ?) ORDER BY d.document_id",
            [pool, rubric],
        )

    def set_aside_disputed(self, rubric: str, reason: str, generation: int) -> int:
        """Filter kept documents that were judged the worse of two extractions (value under a half);
        how many.
        """
        with self._transaction():
            urls = self._rows(
                "UPDATE document SET status = 'filtered', reason = ? WHERE status = 'kept' AND document_id IN"
                " (SELECT subject_id FROM judgment WHERE rubric = ? AND status = 'scored' AND value < 0.5)"
                " RETURNING url",
                [reason, rubric],
            )
            self.note_drops(generation, "label", [(reason, url) for (url,) in urls])
        return len(urls)

    def samples(self, generation: int, kind: str) -> list[Sample]:
        """Samples of one kind that a generation made, in a fixed order."""
        return self._records(
            Sample,
            "SELECT * FROM sample WHERE generation = ? AND kind = ? ORDER BY sample_id",
            [generation, kind],
        )

    def judgments(self, generation: int, rubric: str) -> list[Judgment]:
        """Judgments by one rubric that a generation made, in a fixed order."""
        return self._records(
            Judgment,
            "SELECT * FROM judgment WHERE generation = ? AND rubric = ? ORDER BY judgment_id",
            [generation, rubric],
        )

    def judgments_of_generation(self, generation: int) -> list[Judgment]:
        """All judgments that a generation made, in a fixed order; 0 are those that measured
        labelers.
        """
        return self._records(
            Judgment,
            "SELECT * FROM judgment WHERE generation = ? ORDER BY judgment_id",
            [generation],
        )

    def drop_unscored(self, generation: int) -> None:
        """Take a generation's unscored judgments away, so that the items can be asked about again."""
        self._connection.execute(
            "DELETE FROM judgment WHERE generation = ? AND status <> 'scored'", [generation]
        )

    def probe_results(self) -> list[ProbeResult]:
        """How every labeler did on every probe, in the order in which they were measured."""
        return self._records(ProbeResult, "SELECT * FROM probe_result ORDER BY rowid")

    def all_admissions(self) -> list[Admission]:
        """Every labeler's admissions."""
        return self._records(Admission, "SELECT * FROM admission ORDER BY admission_id")

    def labeled_generations(self) -> list[int]:
        """Generations that have made preferences or judgments."""
        return [
            g
            for (g,) in self._rows(
                "SELECT DISTINCT generation FROM judgment WHERE generation > 0 ORDER BY 1"
            )
        ]

    def champion_of(self, generation: int) -> str | None:
        """The digest of the model that completed a generation's prompts as its champion."""
        rows = self._rows(
            "SELECT DISTINCT model_digest FROM surprise WHERE generation = ?", [generation]
        )
        return str(rows[0][0]) if rows else None

    def dropped_subjects(self, generation: int, reason: str) -> set[str]:
        """What was dropped in a generation for a reason."""
        rows = self._rows(
            "SELECT subject FROM dropped WHERE generation = ? AND reason = ?", [generation, reason]
        )
        return {subject for (subject,) in rows}

    def completions(self, generation: int) -> list[Completion]:
        """Completions that a generation made, grouped by prompt."""
        return self._records(
            Completion,
            "SELECT * FROM completion WHERE generation = ? ORDER BY sample_id, index",
            [generation],
        )

    def preferences(self, generation: int) -> list[Preference]:
        """Preferences that a generation made, in a fixed order."""
        return self._records(
            Preference,
            "SELECT * FROM preference WHERE generation = ? ORDER BY preference_id",
            [generation],
        )

    def sample_domains(self, sample_ids: Sequence[str]) -> dict[str, str]:
        """Sample to the registrable domain of the page that it was taken from, for those that have
        one.
        """
        return dict(
            self._rows(
                "SELECT s.sample_id, p.domain FROM sample s JOIN document d USING (document_id) JOIN page p USING (page_id)"
                " WHERE list_contains(?, s.sample_id)",
                [list(sample_ids)],
            )
        )

    def add_surprise(
        self, generation: int, model_digest: str, bits: Sequence[tuple[str, float]]
    ) -> None:
        """Store a model's bits per byte of samples, (sample_id, bits)."""
        if bits:
            rows = [(generation, model_digest, sample_id, value) for sample_id, value in bits]
            self._insert_new("surprise", rows_table(_SURPRISE, rows), ["generation", "sample_id"])

    def surprise(self, generation: int) -> dict[str, float]:
        """Sample to bits per byte under the champion of a generation."""
        return dict(
            self._rows(
                "SELECT sample_id, bits_per_byte FROM surprise WHERE generation = ?", [generation]
            )
        )

    def add_head(self, head: Head) -> None:
        """Store a generation's head."""
        self._add("head", Head, [head], ["generation"])

    def head(self, generation: int) -> Head | None:
        """A generation's head, if one was fitted."""
        found = self._records(Head, "SELECT * FROM head WHERE generation = ?", [generation])
        return found[0] if found else None

    def add_win_rate(self, rate: WinRate) -> None:
        """Store how a generation's champion does against the one before it."""
        self._add("win_rate", WinRate, [rate], ["generation", "labeler", "model", "other"])

    def win_rates(self) -> list[WinRate]:
        """All of them, in the order of the generations."""
        return self._records(WinRate, "SELECT * FROM win_rate ORDER BY generation, labeler")

    def clashes(self, generation: int) -> tuple[int, int]:
        """(wrong, all) of a generation's verdicts on pairs whose better side was known."""
        wrong, number = self._rows(
            "SELECT count(*) FILTER (verdict <> detail), count(*) FROM judgment"
            " WHERE generation = ? AND mode = 'pairwise' AND status = 'scored' AND detail IN ('A', 'B')",
            [generation],
        )[0]
        return int(wrong), int(number)

    def label_counts(self, generation: int) -> list[tuple[str, str, str, int, float | None]]:
        """(rubric, labeler, status or reason, count, mean value of the scored) of a generation's
        judgments.
        """
        return self._rows(
            "SELECT rubric, labeler, CASE WHEN status = 'scored' THEN status ELSE reason END, count(*),"
            " avg(value) FILTER (status = 'scored') FROM judgment WHERE generation = ? GROUP BY ALL ORDER BY ALL",
            [generation],
        )

    def sample_counts(self, generation: int) -> dict[str, Any]:
        """Samples by kind and preferences of a generation."""
        counts: dict[str, Any] = dict(
            self._rows(
                "SELECT kind, count(*) FROM sample WHERE generation = ? GROUP BY kind", [generation]
            )
        )
        counts["preferences"] = self._value(
            "SELECT count(*) FROM preference WHERE generation = ?", [generation]
        )
        return counts
