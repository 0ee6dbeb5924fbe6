"""What a crawl brings: pages, documents and the fetch log in DuckDB, bodies in WARC files, URLs in
the frontier.
"""

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
    """What one part of a crawl gave, to be stored whole: rows, WARC records and the frontier's next
    state.

    `records` has the WARC record of each page, b"" where a page's body is not kept; `opening` is
    the record that begins a new WARC file. `other_texts` are (document, another extraction of its
    page), `signals` (document, name, value), `bands` (document, band, MinHash key, generation),
    `grams` (document, n, hashes of n-grams). `ingested` is a container of captures and the position
    behind its last one here.
    """

    generation: int
    limits: Limits
    opening: bytes = b""
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
    """A URL is handed out by a lease and retired only by a stored result."""

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
        """Open the frontier for a generation: deal the hosts, add the seeds, queue what is due;
        pages queued again.
        """
        self._frontier.start_generation(generation, num_workers, self._clock())
        with self._frontier.transaction():
            self._frontier.add(links, generation)
        self._frontier.set_values(self.section_values())
        return self._frontier.queue_revisits(generation, self._clock())

    def section_values(self) -> list[tuple[str, str, float]]:
        """(host, section, value): what labelers gave to samples of a section's documents, drawn
        towards the middle.

        Values are averaged over rubrics with two neutral votes of 0.5 added, so that one page
        decides little.
        """
        return self._db.rows(
            "SELECT p.host, p.section, (sum(j.value) + 1) / (count(*) + 2) FROM judgment j"
            " JOIN sample s ON s.sample_id = j.subject_id JOIN document d USING (document_id)"
            " JOIN page p USING (page_id) WHERE j.status = 'scored' AND j.value BETWEEN 0 AND 1 GROUP BY ALL"
        )

    def lease_hosts(
        self, worker: int, generation: int, num_hosts: int, per_host: int, limits: Limits
    ) -> list[HostLease]:
        """Lease URLs of up to `num_hosts` hosts of a worker's own."""
        return self._frontier.lease(worker, generation, num_hosts, per_host, limits, self._clock())

    def is_finished(self, generation: int, limits: Limits) -> bool:
        """Whether nothing is leased, and nothing more may or can be."""
        return self._frontier.is_finished(generation, limits, self._clock())

    def deadline(self, generation: int, limits: Limits) -> float:
        """The moment (seconds since the epoch) at which a generation's crawl ends, done or not."""
        return self._frontier.started_at(generation) + limits.seconds

    def release_worker(self, worker: int, max_attempts: int) -> None:
        """Give back what a dead worker had leased."""
        self._frontier.release_worker(worker, max_attempts, self._clock())

    def release_all_leases(self) -> None:
        """Give every leased URL back, as when the driver that leased them is gone; it does not
        count as a try.
        """
        with self._frontier.transaction():
            self._frontier.release_all(self._clock())

    def borrow_host(self, host: str, domain: str) -> float | None:
        """Take a host that has no visitor for one request; when that may start, or None while there
        is one.
        """
        return self._frontier.borrow_host(host, domain)

    def robots(self, origin: str) -> Robots | None:
        """What is known of an origin's robots.txt."""
        return self._frontier.robots(origin)

    # Results.

    def commit(self, rows: CrawlRows) -> None:
        """Store a part of a crawl: bodies first, then rows, then the frontier.

        A process killed in between leaves leases that run out, and the URLs are fetched again;
        pages that are known by then (by URL and visit) are not stored twice, nor are their bodies.
        """
        self._drop_forgotten(rows)
        known = self._known_pages([page.page_id for page in rows.pages])
        fresh = [
            (p, r) for p, r in zip(rows.pages, rows.records, strict=True) if p.page_id not in known
        ]
        kept = [record for _, record in fresh if record]
        places = iter(self.archive.append(kept, rows.opening))
        pages = [_placed(page, next(places)) if record else page for page, record in fresh]
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
        with self._frontier.transaction():
            self._frontier.add(rows.links, rows.generation)
            self._frontier.retire(
                rows.outcomes, rows.visits, rows.generation, rows.limits, self._clock()
            )
            for robots in rows.robots:
                self._frontier.keep_robots(robots)

    def ingested_until(self, name: str) -> int:
        """The position in a container of captures up to which everything is stored."""
        return int(self._db.value("SELECT position FROM ingested WHERE name = ?", [name]) or 0)

    def _known_pages(self, page_ids: list[str]) -> set[str]:
        return {
            p
            for (p,) in self._db.rows(
                "SELECT page_id FROM page WHERE list_contains(?, page_id)", [page_ids]
            )
        }

    def _insert_whole(self, table: str, schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows of documents of which the table has nothing yet."""
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
        """Take out what somebody has asked to forget: it is not stored again, wherever it comes
        from.
        """
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

    def body_record(self, page_id: str) -> bytes:
        """The WARC record of a page, compressed; b"" where its body is not kept."""
        rows = self._db.rows(
            "SELECT warc_file, warc_offset, warc_length FROM page WHERE page_id = ?", [page_id]
        )
        return self.archive.read(*rows[0]) if rows and rows[0][0] else b""

    def add_documents(self, documents: Sequence[Document], pages: Sequence[Page] = ()) -> None:
        """Store documents (and their pages) that did not come from a crawl."""
        with self._db.transaction():
            self._db.insert_new("page", to_table(Page, pages), ["page_id"])
            self._db.insert_new("document", to_table(Document, documents), ["document_id"])

    # Questions.

    def counts(self, generation: int) -> dict[str, int]:
        """What a generation's crawl has done so far."""
        row = self._db.rows(
            "SELECT count(*) FILTER (status = 200 AND kind = 'page'), count(*) FILTER (status = 304),"
            " coalesce(sum(num_bytes), 0)::BIGINT FROM page WHERE generation = ?",
            [generation],
        )[0]
        kept, total = self._db.rows(
            "SELECT count(*) FILTER (status IN ('kept', 'new')), count(*) FROM document WHERE generation = ?",
            [generation],
        )[0]
        states = self._frontier.counts()
        return {
            "fetched": int(row[0]),
            "unchanged": int(row[1]),
            "bytes": int(row[2]),
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
        """(reason, pages) of what a generation's crawl has dropped, most frequent first."""
        return self._db.rows(
            "SELECT reason, count(*) AS n FROM dropped WHERE generation = ? AND stage = 'crawl' GROUP BY reason"
            " ORDER BY n DESC, reason",
            [generation],
        )

    def request_log(self) -> list[Request]:
        """The fetch log, in the order of starts."""
        return self._db.records(Request, "SELECT * FROM request ORDER BY started_at, request_id")

    def frontier_reasons(self, limit: int = 100) -> list[tuple[str, str, str]]:
        """(url, state, reason) of URLs that failed or were forbidden."""
        return self._frontier.reasons(limit)

    def documents(self, pool: str, generation: int | None = None) -> list[Document]:
        """Kept documents of a pool, of one generation or of all so far, in a fixed order."""
        return self._db.records(
            Document,
            "SELECT * FROM document WHERE status = 'kept' AND pool = ? AND (?::BIGINT IS NULL OR generation = ?)"
            " ORDER BY document_id",
            [pool, generation, generation],
        )

    def pool_counts(self) -> dict[str, int]:
        """Kept documents in each pool."""
        return dict(
            self._db.rows("SELECT pool, count(*) FROM document WHERE status = 'kept' GROUP BY pool")
        )


def _placed(page: Page, place: tuple[str, int, int]) -> Page:
    name, offset, length = place
    return replace(page, warc_file=name, warc_offset=offset, warc_length=length)
