"""Choosing among documents: duplicates, overlaps and verdicts, as questions about sets of rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from infra.store.database import Database, TableGroup
from infra.store.tables.run import RunTables

COMMON_GRAM_DOCUMENTS = 10
"""An n-gram in more documents than this is a common phrase and says nothing about where a text is
from (the rule of Brown et al. 2020, appendix C)."""


class CurationTables(TableGroup):
    """Questions over documents, signals, bands and n-grams."""

    schema = "crawl"

    def __init__(self, database: Database, run: RunTables) -> None:
        super().__init__(database)
        self._run = run

    def undecided_documents(self) -> pa.Table:
        """New documents: document_id, url, language, pool, num_chars, text_digest, generation."""
        return self._db.connection.sql(
            "SELECT document_id, url, language, pool, length(text) AS num_chars, text_digest, generation FROM document"
            " WHERE status = 'new' ORDER BY document_id"
        ).to_arrow_table()

    def reconsider_filtered(self) -> int:
        """Make documents that a policy had filtered new again; how many."""
        rows = self._db.rows(
            "UPDATE document SET status = 'new', reason = '' WHERE status = 'filtered'"
        )
        return int(rows[0][0])

    def last_crawled_generation(self) -> int:
        """The newest generation that has documents; 0 where there is none."""
        return int(self._db.value("SELECT coalesce(max(generation), 0) FROM document"))

    def undecided_signals(self) -> pa.Table:
        """Signals of new documents in long form: document_id, name, value."""
        return self._db.connection.sql(
            "SELECT s.document_id, s.name, s.value FROM signal s JOIN document d USING (document_id)"
            " WHERE d.status = 'new' ORDER BY s.document_id, s.name"
        ).to_arrow_table()

    def documents_containing(self, strings: Sequence[str]) -> set[str]:
        """New documents in whose text one of the strings stands."""
        rows = self._db.rows(
            "SELECT DISTINCT document_id FROM document, (SELECT unnest(?::VARCHAR[]) AS s) WHERE status = 'new'"
            " AND contains(text, s)",
            [list(strings)],
        )
        return {document_id for (document_id,) in rows}

    def similar_documents(self, candidates: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Documents of clusters that the candidates may belong to, and edges between them.

        Nodes are candidates and decided documents: document_id, cluster_id, status, pool,
        num_chars. Edges (a, b) join equal digests and equal MinHash bands, each group as a star, so
        that they stay linear.
        """
        self._db.connection.register(
            "candidate", pa.table({"document_id": pa.array(candidates, pa.string())})
        )
        self._db.connection.execute(
            "CREATE OR REPLACE TEMP TABLE node AS SELECT document_id, cluster_id, status, pool, length(text) AS"
            " num_chars, text_digest FROM document WHERE status IN ('kept', 'duplicate')"
            " OR document_id IN (SELECT document_id FROM candidate)"
        )
        self._db.connection.unregister("candidate")
        edges = self._db.connection.sql(
            "SELECT min(document_id) OVER (PARTITION BY text_digest) AS a, document_id AS b FROM node"
            " WHERE text_digest <> '' QUALIFY a <> b UNION "
            "SELECT min(document_id) OVER (PARTITION BY band, key) AS a, document_id AS b FROM band"
            " WHERE document_id IN (SELECT document_id FROM node) QUALIFY a <> b"
        ).to_arrow_table()
        nodes = self._db.connection.sql(
            "SELECT * EXCLUDE (text_digest) FROM node ORDER BY document_id"
        ).to_arrow_table()
        return nodes, edges

    def overlaps(self, learn: Sequence[str], held_out: Sequence[str], size: int) -> pa.Table:
        """How much of each `learn` document stands in held-out ones: (document_id, share, most).

        `share` is the part of its own n-grams that any held-out text has, `most` the largest part
        of one held-out text's n-grams that it has. Common phrases count for neither side.
        """
        parameters = [list(learn), list(held_out), size, COMMON_GRAM_DOCUMENTS]
        return self._db.connection.sql(
            """
            WITH side AS (SELECT unnest($1::VARCHAR[]) AS document_id, TRUE AS learn
                          UNION ALL SELECT unnest($2::VARCHAR[]), FALSE),
            every AS (SELECT g.document_id, learn, unnest(hashes) AS h FROM gram g JOIN side USING (document_id)
                      WHERE g.size = $3),
            rare AS (SELECT h FROM every GROUP BY h HAVING count(*) <= $4),
            one AS (SELECT every.* FROM every JOIN rare USING (h)),
            total AS (SELECT document_id, count(*) AS n FROM one GROUP BY ALL),
            shared AS (SELECT a.document_id, b.document_id AS other, a.h FROM one a JOIN one b USING (h)
                       WHERE a.learn AND NOT b.learn),
            own AS (SELECT document_id, count(DISTINCT h) AS n FROM shared GROUP BY ALL),
            pair AS (SELECT document_id, other, count(*) AS n FROM shared GROUP BY ALL)
            SELECT own.document_id, own.n / total.n AS share, max(pair.n / o.n) AS most
            FROM own JOIN total USING (document_id) JOIN pair ON pair.document_id = own.document_id
            JOIN total o ON o.document_id = pair.other GROUP BY ALL ORDER BY own.document_id
            """,
            params=parameters,
        ).to_arrow_table()

    def add_held_out_grams(self, rows: pa.Table) -> None:
        """Store n-grams of held-out texts that are not pages: document_id, size, hashes; known ones
        stay.
        """
        self._db.connection.register("incoming", rows)
        self._db.connection.execute(
            "INSERT INTO gram SELECT document_id, size, hashes FROM incoming"
            " WHERE document_id NOT IN (SELECT document_id FROM gram)"
        )
        self._db.connection.unregister("incoming")

    def held_out_grams(self, hashes: Sequence[int], size: int, generation: int) -> set[int]:
        """Those of some n-gram hashes that a held-out text up to a generation has, common phrases
        left out.
        """
        rows = self._db.rows(
            "WITH wanted AS (SELECT unnest(?::UBIGINT[]) AS h), every AS (SELECT g.document_id, unnest(hashes) AS h,"
            " coalesce(d.pool, 'file') <> 'train' AS held FROM gram g LEFT JOIN document d USING (document_id)"
            " WHERE g.size = ? AND coalesce(d.generation, 0) <= ?)"
            " SELECT h FROM every SEMI JOIN wanted USING (h) GROUP BY h HAVING count(*) <= ? AND bool_or(held)",
            [list(hashes), size, generation, COMMON_GRAM_DOCUMENTS],
        )
        return {int(h) for (h,) in rows}

    def pool_members(self) -> dict[str, list[str]]:
        """Kept documents by pool, and held-out texts of files as pool `file`."""
        rows = self._db.rows(
            "SELECT pool, list(document_id ORDER BY document_id) FROM document WHERE status = 'kept' GROUP BY pool"
            " UNION ALL SELECT 'file', list(DISTINCT document_id) FROM gram WHERE starts_with(document_id, 'file:')"
            " HAVING count(*) > 0"
        )
        return dict(rows)

    def mark_documents(self, marks: pa.Table, generation: int) -> None:
        """Write verdicts (document_id, status, reason, cluster_id, cluster_size) and count the
        drops, all at once.
        """
        self._db.connection.register("mark", marks)
        with self._db.transaction():
            self._db.connection.execute(
                "UPDATE document SET status = m.status, reason = m.reason, cluster_id = m.cluster_id,"
                " cluster_size = m.cluster_size FROM mark m WHERE document.document_id = m.document_id"
            )
            drops = self._db.rows(
                "SELECT m.reason, d.url FROM mark m JOIN document d USING (document_id)"
                " WHERE m.status <> 'kept' AND m.reason <> ''"
            )
            self._run.note_drops(generation, "crawl", drops)
        self._db.connection.unregister("mark")

    def diversity(self, generation: int) -> dict[str, float]:
        """How varied a generation's kept documents are.

        Numbers of hosts, languages and clusters, and the effective numbers: the exponential of the
        entropy, which is the number of equally common ones that would be as varied.
        """
        result: dict[str, float] = {}
        for name, column in (
            ("hosts", "p.host"),
            ("languages", "d.language"),
            ("clusters", "d.cluster_id"),
        ):
            number, effective = self._db.rows(
                f"WITH part AS (SELECT {column} AS x, count(*) AS n FROM document d JOIN page p USING (page_id)"  # noqa: S608
                " WHERE d.generation = ? AND d.status = 'kept' GROUP BY ALL), share AS (SELECT n / sum(n) OVER () AS p"
                " FROM part) SELECT count(*), coalesce(exp(-sum(p * ln(p))), 0) FROM share",
                [generation],
            )[0]
            result |= {name: float(number), f"effective_{name}": float(effective)}
        return result
