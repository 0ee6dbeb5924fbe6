"""Queries for the choice of documents: quality, near-duplicates and overlaps."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from infra.store.database import Database, TableGroup
from infra.store.tables.run import RunTables

COMMON_GRAM_DOCUMENTS = 10
"""An n-gram in more documents than this is a common phrase and no sign of overlap (Brown et al.
2020, appendix C)."""

_EDGES = """
SELECT min(document_id) OVER (PARTITION BY text_digest) AS a, document_id AS b
FROM node WHERE text_digest <> '' QUALIFY a <> b
UNION
SELECT min(document_id) OVER (PARTITION BY band, key) AS a, document_id AS b
FROM band WHERE document_id IN (SELECT document_id FROM node) QUALIFY a <> b
"""
_OVERLAPS = """
WITH side AS (
    SELECT unnest($1::VARCHAR[]) AS document_id, TRUE AS learn
    UNION ALL SELECT unnest($2::VARCHAR[]), FALSE
), every AS (
    SELECT g.document_id, learn, unnest(hashes) AS h
    FROM gram g JOIN side USING (document_id) WHERE g.size = $3
), rare AS (
    SELECT h FROM every GROUP BY h HAVING count(*) <= $4
), one AS (
    SELECT every.* FROM every JOIN rare USING (h)
), total AS (
    SELECT document_id, count(*) AS n FROM one GROUP BY ALL
), shared AS (
    SELECT a.document_id, b.document_id AS other, a.h
    FROM one a JOIN one b USING (h) WHERE a.learn AND NOT b.learn
), own AS (
    SELECT document_id, count(DISTINCT h) AS n FROM shared GROUP BY ALL
), pair AS (
    SELECT document_id, other, count(*) AS n FROM shared GROUP BY ALL
)
SELECT own.document_id, own.n / total.n AS share, max(pair.n / o.n) AS most
FROM own JOIN total USING (document_id)
JOIN pair ON pair.document_id = own.document_id
JOIN total o ON o.document_id = pair.other
GROUP BY ALL ORDER BY own.document_id
"""
_HELD_OUT_GRAMS = """
WITH wanted AS (
    SELECT unnest(?::UBIGINT[]) AS h
), every AS (
    SELECT g.document_id, unnest(hashes) AS h, coalesce(d.pool, 'file') <> 'train' AS held
    FROM gram g LEFT JOIN document d USING (document_id)
    WHERE g.size = ? AND coalesce(d.generation, 0) <= ?
)
SELECT h FROM every SEMI JOIN wanted USING (h)
GROUP BY h HAVING count(*) <= ? AND bool_or(held)
"""
_POOL_MEMBERS = """
SELECT pool, list(document_id ORDER BY document_id) FROM document
WHERE status = 'kept' GROUP BY pool
UNION ALL
SELECT 'file', list(DISTINCT document_id) FROM gram
WHERE starts_with(document_id, 'file:') HAVING count(*) > 0
"""
_DIVERSITY = """
WITH part AS (
    SELECT {column} AS x, count(*) AS n FROM document d JOIN page p USING (page_id)
    WHERE d.generation = ? AND d.status = 'kept' GROUP BY ALL
), share AS (
    SELECT n / sum(n) OVER () AS p FROM part
)
SELECT count(*), coalesce(exp(-sum(p * ln(p))), 0) FROM share
"""
_DIVERSITY_COLUMNS = {"hosts": "p.host", "languages": "d.language", "clusters": "d.cluster_id"}


class CurationTables(TableGroup):
    """Queries over documents, quality signals, MinHash bands and n-grams."""

    schema = "crawl"

    def __init__(self, database: Database, run: RunTables) -> None:
        super().__init__(database)
        self._run = run

    def undecided_documents(self) -> pa.Table:
        """New documents: document_id, url, language, pool, num_chars, text_digest, generation."""
        return self._db.connection.sql(
            "SELECT document_id, url, language, pool, length(text) AS num_chars, text_digest,"
            " generation FROM document WHERE status = 'new' ORDER BY document_id"
        ).to_arrow_table()

    def reconsider_filtered(self) -> int:
        """Make filtered documents undecided again; returns their number."""
        rows = self._db.rows(
            "UPDATE document SET status = 'new', reason = '' WHERE status = 'filtered'"
        )
        return int(rows[0][0])

    def last_crawled_generation(self) -> int:
        """The newest generation that has documents; 0 if there is none."""
        return int(self._db.value("SELECT coalesce(max(generation), 0) FROM document"))

    def undecided_signals(self) -> pa.Table:
        """Signals of new documents: document_id, name, value."""
        return self._db.connection.sql(
            "SELECT s.document_id, s.name, s.value"
            " FROM signal s JOIN document d USING (document_id)"
            " WHERE d.status = 'new' ORDER BY s.document_id, s.name"
        ).to_arrow_table()

    def pool_signals(self, pool: str, until: int | None = None) -> pa.Table:
        """Signals of the kept documents of a pool: document_id, name, value.

        With `until` of those alone that this generation or an earlier one has crawled.
        """
        return self._db.connection.sql(
            "SELECT s.document_id, s.name, s.value"
            " FROM signal s JOIN document d USING (document_id)"
            " WHERE d.status = 'kept' AND d.pool = ? AND (?::BIGINT IS NULL OR d.generation <= ?)"
            " ORDER BY s.document_id, s.name",
            params=[pool, until, until],
        ).to_arrow_table()

    def pool_groups(self, pool: str, until: int | None = None) -> list[tuple[str, str, str]]:
        """(document, domain, section) of the kept documents of a pool, by document.

        A document without a page has the domain of no other. With `until` only those that this
        generation or an earlier one has crawled.
        """
        return self._db.rows(
            "SELECT document_id, coalesce(any_value(p.domain), any_value(d.url)),"
            " coalesce(any_value(p.section), '')"
            " FROM document d LEFT JOIN page p USING (page_id)"
            " WHERE d.status = 'kept' AND d.pool = ? AND (?::BIGINT IS NULL OR d.generation <= ?)"
            " GROUP BY document_id ORDER BY document_id",
            [pool, until, until],
        )

    def has_changed(self, pool: str) -> bool:
        """Whether documents of a pool may have left it, or come into it, after their crawl.

        Some were forgotten or set aside, or are kept although their page was dropped once.
        """
        sql = """
            SELECT count(*) FROM document WHERE pool = ? AND (
                status = 'forgotten'
                OR (status = 'filtered' AND document_id IN (SELECT item_id FROM burned))
                OR (status = 'kept' AND url IN (SELECT subject FROM dropped))
            )
        """
        return bool(self._db.value(sql, [pool]))

    def documents_containing(self, strings: Sequence[str]) -> set[str]:
        """The new documents whose text contains one of the strings."""
        rows = self._db.rows(
            "SELECT DISTINCT document_id FROM document, (SELECT unnest(?::VARCHAR[]) AS s)"
            " WHERE status = 'new' AND contains(text, s)",
            [list(strings)],
        )
        return {document_id for (document_id,) in rows}

    def similar_documents(self, candidates: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """(nodes, edges) of the graph of near-duplicates.

        Nodes are the candidates and all decided documents: document_id, cluster_id, status, pool,
        num_chars. Edges (a, b) join documents with equal digests or an equal MinHash band. Each
        group of equal documents is a star, so the number of edges stays linear.
        """
        self._db.connection.register(
            "candidate", pa.table({"document_id": pa.array(candidates, pa.string())})
        )
        self._db.connection.execute(
            "CREATE OR REPLACE TEMP TABLE node AS"
            " SELECT document_id, cluster_id, status, pool, length(text) AS num_chars, text_digest"
            " FROM document WHERE status IN ('kept', 'duplicate')"
            " OR document_id IN (SELECT document_id FROM candidate)"
        )
        self._db.connection.unregister("candidate")
        edges = self._db.connection.sql(_EDGES).to_arrow_table()
        nodes = self._db.connection.sql(
            "SELECT * EXCLUDE (text_digest) FROM node ORDER BY document_id"
        ).to_arrow_table()
        return nodes, edges

    def overlaps(self, learn: Sequence[str], held_out: Sequence[str], size: int) -> pa.Table:
        """The overlap of each `learn` document with held-out ones: document_id, share, most.

        `share` is the part of its own n-grams that occur in any held-out text, `most` the largest
        part of one held-out text's n-grams that occur in it. Common phrases are not counted.
        """
        parameters = [list(learn), list(held_out), size, COMMON_GRAM_DOCUMENTS]
        return self._db.connection.sql(_OVERLAPS, params=parameters).to_arrow_table()

    def add_held_out_grams(self, rows: pa.Table) -> None:
        """Store the n-grams (document_id, size, hashes) of held-out texts from files, if new."""
        self._db.connection.register("incoming", rows)
        self._db.connection.execute(
            "INSERT INTO gram SELECT document_id, size, hashes FROM incoming"
            " WHERE document_id NOT IN (SELECT document_id FROM gram)"
        )
        self._db.connection.unregister("incoming")

    def held_out_grams(self, hashes: Sequence[int], size: int, generation: int) -> set[int]:
        """The given n-gram hashes that occur in held-out texts up to a generation.

        Common phrases are left out.
        """
        parameters = [list(hashes), size, generation, COMMON_GRAM_DOCUMENTS]
        return {int(h) for (h,) in self._db.rows(_HELD_OUT_GRAMS, parameters)}

    def pool_members(self) -> dict[str, list[str]]:
        """Pool to its kept documents; held-out texts from files are the pool `file`."""
        return dict(self._db.rows(_POOL_MEMBERS))

    def mark_documents(self, marks: pa.Table, generation: int) -> None:
        """Write decisions and record the drops, all in one transaction.

        `marks` has the columns document_id, status, reason, cluster_id and cluster_size.
        """
        self._db.connection.register("mark", marks)
        with self._db.transaction():
            self._db.connection.execute(
                "UPDATE document SET status = m.status, reason = m.reason,"
                " cluster_id = m.cluster_id, cluster_size = m.cluster_size"
                " FROM mark m WHERE document.document_id = m.document_id"
            )
            drops = self._db.rows(
                "SELECT m.reason, d.url FROM mark m JOIN document d USING (document_id)"
                " WHERE m.status <> 'kept' AND m.reason <> ''"
            )
            self._run.note_drops(generation, "crawl", drops)
        self._db.connection.unregister("mark")

    def diversity(self, generation: int) -> dict[str, float]:
        """The diversity of a generation's kept documents.

        Numbers of hosts, languages and clusters, and their effective numbers: exp(entropy), the
        number of equally frequent ones with the same entropy.
        """
        numbers: dict[str, float] = {}
        for name, column in _DIVERSITY_COLUMNS.items():
            sql = _DIVERSITY.format(column=column)
            number, effective = self._db.rows(sql, [generation])[0]
            numbers |= {name: float(number), f"effective_{name}": float(effective)}
        return numbers
