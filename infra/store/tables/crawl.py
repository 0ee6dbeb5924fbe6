"""Tables of a crawl: pages, documents and the fetch log, with the WARC files and the frontier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.records import Document, Page, Permission, Request
from infra.records.arrow import rows_table, to_table
from infra.store.archive import Archive
from infra.store.database import Database, TableGroup
from infra.store.frontier.queue import Frontier
from infra.store.frontier.records import HostLease, HostVisit, Limits, Link, Outcome, Robots
from infra.store.tables.run import RunTables

_OTHER_TEXTS = pa.schema([("document_id", pa.string()), ("text", pa.string())])
_SIGNALS = pa.schema([("document_id", pa.string()), ("name", pa.string()), ("value", pa.float64())])
_BANDS = pa.schema(
    [
        ("document_id", pa.string()),
        ("band", pa.int64()),
        ("key", pa.uint64()),
        ("generation", pa.int64()),
    ]
)
_GRAMS = pa.schema(
    [("document_id", pa.string()), ("size", pa.int64()), ("hashes", pa.list_(pa.uint64()))]
)


@dataclass
class CrawlRows:
    """The results of a part of a crawl, which are stored together.

    `records` has the WARC record of each page, b"" if its body is not kept; `warcinfo` is the first
    record of a new WARC file. `other_texts` are (document, text of the second extractor), `signals`
    (document, name, value), `bands` (document, band, MinHash key, generation), `grams` (document,
    n, hashes of n-grams). `drops` are (reason, URL). `ingested` is the name of a file of captures
    and the position after the last capture in these rows.
    """

    generation: int
    limits: Limits
    warcinfo: bytes = b""
    pages: list[Page] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    permissions: list[Permission] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    robots: list[Robots] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    visits: list[HostVisit] = field(default_factory=list)
    drops: list[tuple[str, str]] = field(default_factory=list)
    other_texts: list[tuple[str, str]] = field(default_factory=list)
    signals: list[tuple[str, str, float]] = field(default_factory=list)
    bands: list[tuple[str, int, int, int]] = field(default_factory=list)
    grams: list[tuple[str, int, list[int]]] = field(default_factory=list)
    ingested: tuple[str, int] | None = None


class CrawlTables(TableGroup):
    """The crawl's queue, results and counts.

    A URL is given out by a lease, and retired only when its result is stored.
    """

    schema = "crawl"

    def __init__(
        self,
        database: Database,
        run: RunTables,
        frontier: Frontier,
        archive_folder: Path,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(database)
        self._run, self._frontier, self._clock = run, frontier, clock
        committed = database.rows(
            "SELECT warc_file, max(warc_offset + warc_length) FROM page"
            " WHERE warc_length > 0 GROUP BY warc_file"
        )
        self.archive = Archive(archive_folder, dict(committed))

    # The queue.

    def start(self, generation: int, links: Sequence[Link], num_workers: int) -> int:
        """Prepare the frontier for a generation: assign hosts to workers, and add the seeds.

        Pages that are due again are queued; returns their number.
        """
        self._frontier.start_generation(generation, num_workers, self._clock())
        with self._frontier.transaction():
            self._frontier.add(links, generation)
        self._frontier.set_values(self.section_values())
        return self._frontier.queue_revisits(generation, self._clock())

    def section_values(self) -> list[tuple[str, str, float]]:
        """(host, section, value): the mean judgment of the samples from a section's documents.

        Two values of 0.5 are added to the mean, so that one page has little weight.
        """
        return self._db.rows(
            """
            SELECT p.host, p.section, (sum(j.value) + 1) / (count(*) + 2)
            FROM judgment j JOIN sample s ON s.sample_id = j.subject_id
            JOIN document d USING (document_id) JOIN page p USING (page_id)
            WHERE j.status = 'scored' AND j.value BETWEEN 0 AND 1
            GROUP BY ALL
            """
        )

    def lease_hosts(
        self, worker: int, generation: int, num_hosts: int, per_host: int, limits: Limits
    ) -> list[HostLease]:
        """Lease URLs of up to `num_hosts` hosts of a worker, at most `per_host` of each."""
        return self._frontier.lease(worker, generation, num_hosts, per_host, limits, self._clock())

    def is_finished(self, generation: int, limits: Limits) -> bool:
        """Whether nothing is leased, and nothing more can or may be leased."""
        return self._frontier.is_finished(generation, limits, self._clock())

    def deadline(self, generation: int, limits: Limits) -> float:
        """When the crawl of a generation must end, in seconds since the epoch."""
        return self._frontier.started_at(generation) + limits.seconds

    def release_worker(self, worker: int, max_attempts: int) -> None:
        """Put the URLs that a dead worker had leased back into the queue."""
        self._frontier.release_worker(worker, max_attempts, self._clock())

    def release_all_leases(self) -> None:
        """Put all leased URLs back after the driver died; this does not count as an attempt."""
        with self._frontier.transaction():
            self._frontier.release_all(self._clock())

    def borrow_host(self, host: str, domain: str) -> float | None:
        """Reserve a host for one request; returns when it may start, None if the host is busy."""
        return self._frontier.borrow_host(host, domain)

    def robots(self, origin: str) -> Robots | None:
        """The stored robots.txt of an origin, if there is one."""
        return self._frontier.robots(origin)

    # Results.

    def commit(self, rows: CrawlRows) -> None:
        """Store a part of a crawl: bodies first, then rows, then the frontier.

        If the process is killed in between, the leases expire and the URLs are fetched again. Pages
        that are stored already (same URL and visit) are not stored twice, nor are their bodies.
        """
        self._drop_forgotten(rows)
        pages = self._store_bodies(rows)
        with self._db.transaction():
            self._db.insert_new("page", to_table(Page, pages), ["page_id"])
            self._db.insert_new("document", to_table(Document, rows.documents), ["document_id"])
            self._db.insert_new(
                "permission", to_table(Permission, rows.permissions), ["page_id", "purpose"]
            )
            self._db.insert_new("request", to_table(Request, rows.requests), ["request_id"])
            self._insert_whole("other_text", _OTHER_TEXTS, rows.other_texts)
            self._insert_whole("signal", _SIGNALS, rows.signals)
            self._insert_whole("band", _BANDS, rows.bands)
            self._insert_whole("gram", _GRAMS, rows.grams)
            self._run.note_drops(rows.generation, "crawl", rows.drops)
            if rows.ingested is not None:
                self._db.connection.execute(
                    "DELETE FROM ingested WHERE name = ?", [rows.ingested[0]]
                )
                self._db.connection.execute(
                    "INSERT INTO ingested VALUES (?, ?)", list(rows.ingested)
                )
        self._update_frontier(rows)

    def _store_bodies(self, rows: CrawlRows) -> list[Page]:
        """Append the WARC records of new pages; returns these pages with their positions."""
        known = self._known_pages([page.page_id for page in rows.pages])
        pairs = zip(rows.pages, rows.records, strict=True)
        new = [(page, record) for page, record in pairs if page.page_id not in known]
        records = [record for _, record in new if record]
        locations = iter(self.archive.append(records, rows.warcinfo))
        pages = []
        for page, record in new:
            if record:
                name, offset, length = next(locations)
                page = replace(page, warc_file=name, warc_offset=offset, warc_length=length)
            pages.append(page)
        return pages

    def _update_frontier(self, rows: CrawlRows) -> None:
        with self._frontier.transaction():
            self._frontier.add(rows.links, rows.generation)
            self._frontier.retire(
                rows.outcomes, rows.visits, rows.generation, rows.limits, self._clock()
            )
            for robots in rows.robots:
                self._frontier.keep_robots(robots)

    def ingested_until(self, name: str) -> int:
        """The position in a file of captures up to which everything is stored."""
        return int(self._db.value("SELECT position FROM ingested WHERE name = ?", [name]) or 0)

    def _known_pages(self, page_ids: list[str]) -> set[str]:
        sql = "SELECT page_id FROM page WHERE list_contains(?, page_id)"
        return {page_id for (page_id,) in self._db.rows(sql, [page_ids])}

    def _insert_whole(self, table: str, schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows of documents that the table has no rows of yet."""
        if not rows:
            return
        self._db.connection.register("incoming", rows_table(schema, rows))
        columns = ", ".join(schema.names)
        self._db.connection.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming"  # noqa: S608
            f" WHERE document_id NOT IN (SELECT document_id FROM {table}"
            " WHERE document_id IN (SELECT document_id FROM incoming))"
        )
        self._db.connection.unregister("incoming")

    def _drop_forgotten(self, rows: CrawlRows) -> None:
        """Remove from the rows what a person asked to forget, so that it is not stored again."""
        gone = self._db.rows("SELECT url, domain FROM tombstone")
        urls, domains = {u for u, _ in gone if u}, {d for _, d in gone if d}
        if not gone:
            return
        pairs = zip(rows.pages, rows.records, strict=True)
        kept = [(p, r) for p, r in pairs if p.url not in urls and p.domain not in domains]
        rows.pages, rows.records = [p for p, _ in kept], [r for _, r in kept]
        pages = {page.page_id for page in rows.pages}
        rows.documents = [d for d in rows.documents if d.page_id in pages]
        rows.permissions = [p for p in rows.permissions if p.page_id in pages]
        rows.links = [
            link for link in rows.links if link.url not in urls and link.domain not in domains
        ]
        documents = {d.document_id for d in rows.documents}
        rows.other_texts = [row for row in rows.other_texts if row[0] in documents]
        rows.signals = [row for row in rows.signals if row[0] in documents]
        rows.bands = [row for row in rows.bands if row[0] in documents]
        rows.grams = [row for row in rows.grams if row[0] in documents]

    # Counts and documents.

    def counts(self, generation: int) -> dict[str, int]:
        """Numbers about the crawl of a generation so far."""
        fetched, unchanged, num_bytes = self._db.rows(
            """
            SELECT count(*) FILTER (status = 200 AND kind = 'page'),
                count(*) FILTER (status = 304),
                coalesce(sum(num_bytes), 0)::BIGINT
            FROM page WHERE generation = ?
            """,
            [generation],
        )[0]
        kept, total = self._db.rows(
            "SELECT count(*) FILTER (status IN ('kept', 'new')), count(*)"
            " FROM document WHERE generation = ?",
            [generation],
        )[0]
        states = self._frontier.counts()
        return {
            "fetched": int(fetched),
            "unchanged": int(unchanged),
            "bytes": int(num_bytes),
            "failed": states.get("failed", 0),
            "forbidden": states.get("forbidden", 0),
            "documents": int(kept),
            "dropped": int(total) - int(kept),
            "waiting": states.get("pending", 0) + states.get("leased", 0),
        }

    def progress(self, generation: int) -> tuple[int, int]:
        """(pages, bytes) that a generation has fetched so far."""
        return self._frontier.progress(generation)

    def drop_counts(self, generation: int) -> list[tuple[str, int]]:
        """(reason, number) of the drops in a generation's crawl, most frequent first."""
        return self._db.rows(
            "SELECT reason, count(*) AS n FROM dropped WHERE generation = ? AND stage = 'crawl'"
            " GROUP BY reason ORDER BY n DESC, reason",
            [generation],
        )

    def frontier_reasons(self, limit: int = 100) -> list[tuple[str, str, str]]:
        """(url, state, reason) of URLs that failed or were forbidden."""
        return self._frontier.reasons(limit)

    def documents(self, pool: str, generation: int | None = None) -> list[Document]:
        """Kept documents of a pool, of one generation or of all, in a fixed order."""
        return self._db.records(
            Document,
            "SELECT * FROM document WHERE status = 'kept' AND pool = ?"
            " AND (?::BIGINT IS NULL OR generation = ?) ORDER BY document_id",
            [pool, generation, generation],
        )

    def pool_counts(self) -> dict[str, int]:
        """Pool to its number of kept documents."""
        return dict(
            self._db.rows("SELECT pool, count(*) FROM document WHERE status = 'kept' GROUP BY pool")
        )
