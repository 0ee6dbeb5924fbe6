"""What is known about labelers: probes, admissions, datasheets, win rates, surprise, heads."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from infra.records import Judgment
from infra.records.arrow import rows_table
from infra.records.labeler import Admission, Datasheet, GoldItem, Head, ProbeResult, WinRate
from infra.store.database import TableGroup

_SURPRISE = pa.schema(
    [
        ("generation", pa.int64()),
        ("model_digest", pa.string()),
        ("sample_id", pa.string()),
        ("bits_per_byte", pa.float64()),
    ]
)


class LabelerTables(TableGroup):
    """How well labelers measured up, and what follows from it."""

    schema = "labelers"

    def add_datasheet(
        self, results: Sequence[ProbeResult], admissions: Sequence[Admission]
    ) -> None:
        """Store how a labeler did on its probes, with the admissions that follow from it."""
        with self._db.transaction():
            self._db.add("probe_result", ProbeResult, results, ["result_id"])
            self._db.add("admission", Admission, admissions, ["admission_id"])

    def add_gold_sheet(
        self, sheet: Datasheet, items: Sequence[GoldItem], rows: Sequence[Judgment]
    ) -> None:
        """Store a datasheet with what it is computed from; a new one takes the place of one on the
        same pairs.
        """
        with self._db.transaction():
            for table in ("datasheet", "gold_item"):
                self._db.connection.execute(
                    f"DELETE FROM {table} WHERE datasheet_id = ?",
                    [sheet.datasheet_id],  # noqa: S608
                )
            ids = [item.judgment_id for item in items]
            self._db.connection.execute(
                "DELETE FROM judgment WHERE list_contains(?, judgment_id)", [ids]
            )
            self._db.add("datasheet", Datasheet, [sheet], ["datasheet_id"])
            self._db.add("gold_item", GoldItem, items, ["datasheet_id", "part", "place"])
            self._db.add("judgment", Judgment, rows, ["judgment_id"])

    def gold_evidence(self, datasheet_id: str) -> tuple[list[GoldItem], list[Judgment]]:
        """What a datasheet is computed from."""
        items = self._db.records(
            GoldItem,
            "SELECT * FROM gold_item WHERE datasheet_id = ? ORDER BY part, place",
            [datasheet_id],
        )
        rows = self._db.records(
            Judgment,
            "SELECT j.* FROM judgment j SEMI JOIN (SELECT judgment_id FROM gold_item WHERE datasheet_id = ?) g"
            " USING (judgment_id) ORDER BY judgment_id",
            [datasheet_id],
        )
        return items, rows

    def gold_sheets(self) -> list[Datasheet]:
        """Every datasheet of the run."""
        return self._db.records(Datasheet, "SELECT * FROM datasheet ORDER BY labeler, rubric, gold")

    def admissions(self, labeler: str) -> list[Admission]:
        """What a labeler may label by."""
        return self._db.records(
            Admission, "SELECT * FROM admission WHERE labeler = ? ORDER BY rubric", [labeler]
        )

    def tested_probes(self, labeler: str) -> list[ProbeResult]:
        """How a labeler did on the test halves of its probes, with every elicitation method."""
        return self._db.records(
            ProbeResult,
            "SELECT * FROM probe_result WHERE labeler = ? AND half = 'test' ORDER BY result_id",
            [labeler],
        )

    def probe_results(self) -> list[ProbeResult]:
        """How every labeler did on every probe, in the order in which they were measured."""
        return self._db.records(ProbeResult, "SELECT * FROM probe_result ORDER BY rowid")

    def all_admissions(self) -> list[Admission]:
        """Every labeler's admissions."""
        return self._db.records(Admission, "SELECT * FROM admission ORDER BY admission_id")

    def completing_champion(self, generation: int) -> str | None:
        """The digest of the model that completed a generation's prompts as its champion."""
        rows = self._db.rows(
            "SELECT DISTINCT model_digest FROM surprise WHERE generation = ?", [generation]
        )
        return str(rows[0][0]) if rows else None

    def add_surprise(
        self, generation: int, model_digest: str, bits: Sequence[tuple[str, float]]
    ) -> None:
        """Store a model's bits per byte of samples, (sample_id, bits)."""
        if bits:
            rows = [(generation, model_digest, sample_id, value) for sample_id, value in bits]
            self._db.insert_new(
                "surprise", rows_table(_SURPRISE, rows), ["generation", "sample_id"]
            )

    def surprise(self, generation: int) -> dict[str, float]:
        """Sample to bits per byte under the champion of a generation."""
        return dict(
            self._db.rows(
                "SELECT sample_id, bits_per_byte FROM surprise WHERE generation = ?", [generation]
            )
        )

    def add_head(self, head: Head) -> None:
        """Store a generation's head."""
        self._db.add("head", Head, [head], ["generation"])

    def head(self, generation: int) -> Head | None:
        """A generation's head, if one was fitted."""
        found = self._db.records(Head, "SELECT * FROM head WHERE generation = ?", [generation])
        return found[0] if found else None

    def add_win_rate(self, rate: WinRate) -> None:
        """Store how a generation's champion does against the one before it."""
        self._db.add("win_rate", WinRate, [rate], ["generation", "labeler", "model", "other"])

    def win_rates(self) -> list[WinRate]:
        """All of them, in the order of the generations."""
        return self._db.records(WinRate, "SELECT * FROM win_rate ORDER BY generation, labeler")

    def clashes(self, generation: int) -> tuple[int, int]:
        """(wrong, all) of a generation's verdicts on pairs whose better side was known."""
        wrong, number = self._db.rows(
            "SELECT count(*) FILTER (verdict <> detail), count(*) FROM judgment"
            " WHERE generation = ? AND mode = 'pairwise' AND status = 'scored' AND detail IN ('A', 'B')",
            [generation],
        )[0]
        return int(wrong), int(number)
