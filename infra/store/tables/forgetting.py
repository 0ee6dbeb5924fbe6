"""Forgetting: removes the text of pages, and records which generations were trained on it.

Exports are here as well, because forgotten text is also removed from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.records import now
from infra.store.archive import Archive
from infra.store.database import Database, TableGroup
from infra.store.frontier.queue import Frontier

_REMOVALS = (
    "DELETE FROM completion WHERE sample_id IN (SELECT item_id FROM gone_item)",
    "DELETE FROM preference WHERE preference_id IN (SELECT item_id FROM gone_item)",
    "DELETE FROM judgment WHERE subject_id IN (SELECT item_id FROM gone_item)"
    " OR subject_id IN (SELECT document_id FROM gone_document)",
    "DELETE FROM sample WHERE sample_id IN (SELECT item_id FROM gone_item)",
    "DELETE FROM other_text WHERE document_id IN (SELECT document_id FROM gone_document)",
    "DELETE FROM gram WHERE document_id IN (SELECT document_id FROM gone_document)",
    "DELETE FROM band WHERE document_id IN (SELECT document_id FROM gone_document)",
    "UPDATE document SET text = '', title = '', status = 'forgotten', reason = 'forgotten'"
    " WHERE document_id IN (SELECT document_id FROM gone_document)",
)
_GONE_ITEMS = """
CREATE OR REPLACE TEMP TABLE gone_item AS
SELECT sample_id AS item_id, document_id, url
FROM sample JOIN gone_document USING (document_id)
UNION ALL
SELECT p.preference_id, s.document_id, g.url
FROM preference p JOIN sample s USING (sample_id)
JOIN gone_document g ON g.document_id = s.document_id
"""
_EXPORTED = """
SELECT d.document_id, d.url, p.domain, d.title, d.text, d.language, d.extractor, d.generation,
    d.cluster_size, d.text_digest, p.fetched_at, p.train AS permission, p.warc_file, p.warc_offset
FROM document d JOIN page p USING (page_id)
WHERE d.status = 'kept' AND d.pool = ? AND (p.train <> 'deny' OR d.pool <> 'train')
    AND NOT list_contains(?::VARCHAR[], document_id)
ORDER BY document_id
"""


class ForgettingTables(TableGroup):
    """Removes text by URL or by registrable domain, and writes exports."""

    schema = "forgetting"

    def __init__(self, database: Database, archive: Archive, frontier: Frontier) -> None:
        super().__init__(database)
        self._archive, self._frontier = archive, frontier

    def forget(self, url: str | None, domain: str | None, reason: str) -> dict[str, int]:
        """Remove the text of a page or of a whole domain, and never fetch it again.

        Returns the numbers of removed pages, documents and samples. Bodies are removed before rows,
        so a call that was killed can be repeated. The generations that were trained on the text are
        recorded in the table `forgotten` before the samples are deleted.
        """
        pages = self._db.rows(
            "SELECT page_id, warc_file, warc_offset, warc_length FROM page"
            " WHERE url = ? OR domain = ?",
            [url, domain],
        )
        self._blank_bodies([location for _, *location in pages])
        with self._db.transaction():
            self._db.connection.execute(
                "INSERT INTO tombstone VALUES (?, ?, ?, ?)", [url, domain, now(), reason]
            )
            counts = self._remove_rows([page_id for page_id, *_ in pages])
        self._frontier.forget(url, domain)
        self._db.connection.execute("CHECKPOINT")
        self._db.publish_snapshot()
        return {"pages": len(pages), **counts}

    def _blank_bodies(self, locations: list[list[Any]]) -> None:
        """Overwrite WARC records, given as (file, offset, length)."""
        by_file: dict[str, list[tuple[int, int]]] = {}
        for name, offset, length in locations:
            if length:
                by_file.setdefault(name, []).append((offset, length))
        for name, records in by_file.items():
            self._archive.blank(name, records)

    def _remove_rows(self, page_ids: list[str]) -> dict[str, int]:
        """Delete the rows made from some pages; rows of pages and documents stay without text."""
        self._db.connection.execute(
            "CREATE OR REPLACE TEMP TABLE gone_document AS SELECT document_id, url FROM document"
            " WHERE list_contains(?, page_id)",
            [page_ids],
        )
        self._db.connection.execute(_GONE_ITEMS)
        self._db.connection.execute(
            "INSERT INTO forgotten"
            " SELECT DISTINCT g.url, g.document_id, g.item_id, m.generation, m.arm, m.kind"
            " FROM gone_item g JOIN manifest m USING (item_id)"
        )
        number = int(self._db.value("SELECT count(*) FROM gone_item"))
        for statement in _REMOVALS:
            self._db.connection.execute(statement)
        self._db.connection.execute(
            "UPDATE page SET warc_file = '', warc_offset = 0, warc_length = 0"
            " WHERE list_contains(?, page_id)",
            [page_ids],
        )
        return {
            "documents": int(self._db.value("SELECT count(*) FROM gone_document")),
            "samples": number,
        }

    def learned_from(self, url: str | None, domain: str | None) -> list[tuple[int, str, str, int]]:
        """(generation, arm, outcome, number of items) of candidates trained on forgotten text."""
        sql = """
            SELECT f.generation, f.arm, coalesce(any_value(d.outcome), 'undecided'),
                count(DISTINCT f.item_id)
            FROM forgotten f LEFT JOIN decision d USING (generation, arm)
            WHERE f.url = ? OR f.url IN (SELECT url FROM page WHERE domain = ?)
            GROUP BY f.generation, f.arm ORDER BY f.generation, f.arm
        """
        return self._db.rows(sql, [url, domain])

    # Exports.

    def export_documents(self, target: Path, pool: str, left_out: list[str]) -> int:
        """Write the kept documents of a pool as Parquet or JSON lines; returns their number.

        Names that end in .json or .jsonl mean JSON lines. Documents in `left_out`, and training
        documents whose site denies training, are not written. The path is recorded, so that text
        that is forgotten later can be removed from the file.
        """
        kind = "json" if target.suffix in (".jsonl", ".json") else "parquet"
        scratch = target.with_name(f".{target.name}.part")
        path = str(scratch).replace("'", "''")
        ((count,),) = self._db.connection.execute(
            f"COPY ({_EXPORTED}) TO '{path}' (FORMAT {kind})",
            [pool, left_out],
        ).fetchall()
        scratch.replace(target)
        with self._db.transaction():
            self._db.connection.execute("DELETE FROM export WHERE path = ?", [str(target)])
            self._db.connection.execute(
                "INSERT INTO export VALUES (?, ?, ?)", [str(target), pool, left_out]
            )
        return int(count)

    def renew_exports(self) -> list[str]:
        """Write all exports that still exist again, without forgotten text; returns their paths."""
        renewed = []
        for path, pool, left_out in self._db.rows(
            "SELECT path, pool, left_out FROM export ORDER BY path"
        ):
            if Path(path).exists():
                self.export_documents(Path(path), pool, left_out)
                renewed.append(path)
        return renewed
