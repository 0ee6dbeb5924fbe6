"""Forgetting: a later opt-out removes text everywhere, and leaves a list of who has learned from
it.
"""

from __future__ import annotations

from pathlib import Path

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


_EXPORTED = (
    "SELECT d.document_id, d.url, p.domain, d.title, d.text, d.language, d.extractor, d.generation, d.cluster_size,"
    " d.text_digest, p.fetched_at, p.train AS permission, p.warc_file, p.warc_offset"
    " FROM document d JOIN page p USING (page_id) WHERE d.status = 'kept' AND d.pool = ?"
    " AND (p.train <> 'deny' OR d.pool <> 'train') AND NOT list_contains(?::VARCHAR[], document_id)"
    " ORDER BY document_id"
)


class ForgettingTables(TableGroup):
    """Removal by URL or by registrable domain."""

    schema = "forgetting"

    def __init__(self, database: Database, archive: Archive, frontier: Frontier) -> None:
        super().__init__(database)
        self._archive, self._frontier = archive, frontier

    def forget(self, url: str | None, domain: str | None, reason: str) -> dict[str, int]:
        """Remove the text of a page, or of everything under a domain, and never fetch it again;
        what was removed.

        Bodies go first, then rows, so that a killed call can be given again. What was trained on
        the text is noted in `forgotten` before the samples are deleted.
        """
        pages = self._db.rows(
            "SELECT page_id, warc_file, warc_offset, warc_length FROM page WHERE url = ? OR domain = ?",
            [url, domain],
        )
        self._blank_bodies([place for _, *place in pages])
        with self._db.transaction():
            self._db.connection.execute(
                "INSERT INTO tombstone VALUES (?, ?, ?, ?)", [url, domain, now(), reason]
            )
            counts = self._remove_rows([page_id for page_id, *_ in pages])
        self._frontier.forget(url, domain)
        self._db.connection.execute("CHECKPOINT")
        self._db.publish_snapshot()
        return {"pages": len(pages), **counts}

    def _blank_bodies(self, places: list[list[object]]) -> None:
        by_file: dict[str, list[tuple[int, int]]] = {}
        for name, offset, length in places:
            if length:
                by_file.setdefault(str(name), []).append((int(str(offset)), int(str(length))))
        for name, gone in by_file.items():
            self._archive.blank(name, gone)

    def _remove_rows(self, page_ids: list[str]) -> dict[str, int]:
        """Delete what was made from some pages; documents and pages stay as rows without text."""
        self._db.connection.execute(
            "CREATE OR REPLACE TEMP TABLE gone_document AS SELECT document_id, url FROM document"
            " WHERE list_contains(?, page_id)",
            [page_ids],
        )
        self._db.connection.execute(
            "CREATE OR REPLACE TEMP TABLE gone_item AS"
            " SELECT sample_id AS item_id, document_id, url FROM sample JOIN gone_document USING (document_id)"
            " UNION ALL SELECT p.preference_id, s.document_id, g.url FROM preference p JOIN sample s USING (sample_id)"
            " JOIN gone_document g ON g.document_id = s.document_id"
        )
        self._db.connection.execute(
            "INSERT INTO forgotten SELECT DISTINCT g.url, g.document_id, g.item_id, m.generation, m.kind"
            " FROM gone_item g JOIN manifest m USING (item_id)"
        )
        number = int(self._db.value("SELECT count(*) FROM gone_item"))
        for statement in _REMOVALS:
            self._db.connection.execute(statement)
        self._db.connection.execute(
            "UPDATE page SET warc_file = '', warc_offset = 0, warc_length = 0 WHERE list_contains(?, page_id)",
            [page_ids],
        )
        return {
            "documents": int(self._db.value("SELECT count(*) FROM gone_document")),
            "samples": number,
        }

    def learned_from(self, url: str | None, domain: str | None) -> list[tuple[int, str, int]]:
        """(generation, outcome, items) of every generation that was trained on what was forgotten."""
        return self._db.rows(
            "SELECT f.generation, coalesce(any_value(d.outcome), 'undecided'), count(DISTINCT f.item_id)"
            " FROM forgotten f LEFT JOIN decision d USING (generation)"
            " WHERE f.url = ? OR f.url IN (SELECT url FROM page WHERE domain = ?)"
            " GROUP BY f.generation ORDER BY f.generation",
            [url, domain],
        )

    # Exports.

    def export_documents(self, target: Path, pool: str, left_out: list[str]) -> int:
        """Write kept documents of a pool as Parquet or JSON lines (by the name's end); how many.

        Left out are the given documents and those whose site denies training. The file is
        remembered, so that what is forgotten later is removed from it too.
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
        """Write every export that is still there again, without what was forgotten since; their
        paths.
        """
        renewed = []
        for path, pool, left_out in self._db.rows(
            "SELECT path, pool, left_out FROM export ORDER BY path"
        ):
            if Path(path).exists():
                self.export_documents(Path(path), pool, left_out)
                renewed.append(path)
        return renewed
