"""Tables about labelers: probes, admissions, datasheets, win rates, surprise."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from infra.records import Judgment
from infra.records.arrow import rows_table
from infra.records.labeler import Admission, Datasheet, GoldItem, ProbeResult, WinRate
from infra.store.database import TableGroup

_SURPRISE = pa.schema(
    [
        ("generation", pa.int64()),
        ("model_digest", pa.string()),
        ("sample_id", pa.string()),
        ("bits_per_byte", pa.float64()),
        ("is_tuned", pa.bool_()),
    ]
)


class LabelerTables(TableGroup):
    """Measurements of labelers, and the decisions that follow from them."""

    schema = "labelers"

    def add_datasheet(
        self, results: Sequence[ProbeResult], admissions: Sequence[Admission]
    ) -> None:
        """Store a labeler's results on probes, with the admissions that follow from them."""
        with self._db.transaction():
            self._db.add("probe_result", ProbeResult, results, ["result_id"])
            self._db.add("admission", Admission, admissions, ["admission_id"])

    def add_gold_sheet(
        self, sheet: Datasheet, items: Sequence[GoldItem], rows: Sequence[Judgment]
    ) -> None:
        """Store a datasheet with the judgments that it is computed from.

        It replaces an older datasheet on the same pairs.
        """
        sheet_id = [sheet.datasheet_id]
        ids = [item.judgment_id for item in items]
        with self._db.transaction():
            self._db.connection.execute("DELETE FROM datasheet WHERE datasheet_id = ?", sheet_id)
            self._db.connection.execute("DELETE FROM gold_item WHERE datasheet_id = ?", sheet_id)
            self._db.connection.execute(
                "DELETE FROM judgment WHERE list_contains(?, judgment_id)", [ids]
            )
            self._db.add("datasheet", Datasheet, [sheet], ["datasheet_id"])
            self._db.add("gold_item", GoldItem, items, ["datasheet_id", "part", "position"])
            self._db.add("judgment", Judgment, rows, ["judgment_id"])

    def gold_evidence(self, datasheet_id: str) -> tuple[list[GoldItem], list[Judgment]]:
        """The gold items and judgments that a datasheet is computed from."""
        items = self._db.records(
            GoldItem,
            "SELECT * FROM gold_item WHERE datasheet_id = ? ORDER BY part, position",
            [datasheet_id],
        )
        rows = self._db.records(
            Judgment,
            "SELECT j.* FROM judgment j"
            " SEMI JOIN (SELECT judgment_id FROM gold_item WHERE datasheet_id = ?) g"
            " USING (judgment_id) ORDER BY judgment_id",
            [datasheet_id],
        )
        return items, rows

    def gold_sheets(self) -> list[Datasheet]:
        """All datasheets of the run."""
        return self._db.records(Datasheet, "SELECT * FROM datasheet ORDER BY labeler, rubric, gold")

    def admissions(self, labeler: str) -> list[Admission]:
        """Whether a labeler may use each rubric."""
        return self._db.records(
            Admission, "SELECT * FROM admission WHERE labeler = ? ORDER BY rubric", [labeler]
        )

    def tested_probes(self, labeler: str) -> list[ProbeResult]:
        """Results on the test halves of a labeler's probes, for every elicitation method."""
        return self._db.records(
            ProbeResult,
            "SELECT * FROM probe_result WHERE labeler = ? AND half = 'test' ORDER BY result_id",
            [labeler],
        )

    def probe_results(self) -> list[ProbeResult]:
        """The results of all labelers on all probes, in the order of measurement."""
        return self._db.records(ProbeResult, "SELECT * FROM probe_result ORDER BY rowid")

    def all_admissions(self) -> list[Admission]:
        """The admissions of all labelers."""
        return self._db.records(Admission, "SELECT * FROM admission ORDER BY admission_id")

    def completing_champion(self, generation: int) -> str | None:
        """The digest of the champion that completed a generation's prompts, if recorded."""
        rows = self._db.rows(
            "SELECT DISTINCT model_digest FROM surprise WHERE generation = ? AND NOT is_tuned",
            [generation],
        )
        return str(rows[0][0]) if rows else None

    def add_surprise(
        self,
        generation: int,
        model_digest: str,
        bits: Sequence[tuple[str, float]],
        is_tuned: bool = False,
    ) -> None:
        """Store a model's surprise at samples, (sample_id, bits per byte).

        `is_tuned` says that the model is the champion after it has learned the development texts.
        """
        if bits:
            rows = [(generation, model_digest, key, value, is_tuned) for key, value in bits]
            keys = ["generation", "sample_id", "is_tuned"]
            self._db.insert_new("surprise", rows_table(_SURPRISE, rows), keys)

    def surprise(self, generation: int, kind: str = "passage") -> dict[str, float]:
        """Sample of a kind to its bits per byte under the champion of a generation."""
        return self._bits(generation, kind, is_tuned=False)

    def tuned_bits(self, generation: int, kind: str = "passage") -> dict[str, float]:
        """Sample of a kind to its bits per byte under the champion that has learned the development
        texts.
        """
        return self._bits(generation, kind, is_tuned=True)

    def _bits(self, generation: int, kind: str, is_tuned: bool) -> dict[str, float]:
        sql = """
            SELECT b.sample_id, b.bits_per_byte FROM surprise b
            SEMI JOIN sample s ON s.sample_id = b.sample_id AND s.kind = ?
            WHERE b.generation = ? AND b.is_tuned = ?
            ORDER BY b.sample_id
        """
        return dict(self._db.rows(sql, [kind, generation, is_tuned]))

    def add_win_rate(self, rate: WinRate) -> None:
        """Store the win rate of a generation's champion against the one before it."""
        self._db.add("win_rate", WinRate, [rate], ["generation", "labeler", "model", "other"])

    def win_rates(self) -> list[WinRate]:
        """All win rates, in the order of the generations."""
        return self._db.records(WinRate, "SELECT * FROM win_rate ORDER BY generation, labeler")

    def clashes(self, generation: int) -> tuple[int, int]:
        """(wrong, all) of a generation's verdicts on pairs whose better side is known."""
        wrong, number = self._db.rows(
            "SELECT count(*) FILTER (verdict <> detail), count(*) FROM judgment"
            " WHERE generation = ? AND mode = 'pairwise' AND status = 'scored'"
            " AND detail IN ('A', 'B')",
            [generation],
        )[0]
        return int(wrong), int(number)
