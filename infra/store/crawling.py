"""Frontier, pages and documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from infra.records import Document, Page
from infra.store.base import StoreBase
from infra.tables import to_table


class CrawlTables(StoreBase):
    """A URL is handed out by a lease and retired only by a stored result."""

    def add_urls(self, urls: Sequence[tuple[str, str, int]], generation: int) -> int:
        """Add (url, host, depth) that the frontier does not know; the number added."""
        rows = pa.table(
            {
                "url": pa.array([u for u, _, _ in urls], pa.string()),
                "host": pa.array([h for _, h, _ in urls], pa.string()),
                "depth": pa.array([d for _, _, d in urls], pa.int64()),
                "discovered_generation": pa.array([generation] * len(urls), pa.int64()),
                "state": pa.array(["pending"] * len(urls), pa.string()),
                "attempts": pa.array([0] * len(urls), pa.int64()),
                "visited_generation": pa.array([-1] * len(urls), pa.int64()),
                "etag": pa.array([""] * len(urls), pa.string()),
                "last_modified": pa.array([""] * len(urls), pa.string()),
                "reason": pa.array([""] * len(urls), pa.string()),
            }
        )
        return self._insert_new("frontier", rows, ["url"])

    def release_all_leases(self) -> None:
        """Give every leased URL back, as when the driver that leased them is gone; it does not count as a try."""
        self._connection.execute(
            "UPDATE frontier SET attempts = attempts - 1,"
            " state = CASE WHEN visited_generation >= 0 THEN 'done' ELSE 'pending' END WHERE state = 'leased'"
        )

    def release_leases(self, urls: Sequence[str], max_attempts: int = 3) -> None:
        """Give back leased URLs whose batch failed; one that failed too often is given up."""
        self._connection.execute(
            "UPDATE frontier SET reason = 'the crawl process failed', state = CASE WHEN attempts >= ? THEN 'failed'"
            " WHEN visited_generation >= 0 THEN 'done' ELSE 'pending' END"
            " WHERE state = 'leased' AND list_contains(?, url)",
            [max_attempts, list(urls)],
        )

    def lease_urls(self, generation: int, count: int, busy_hosts: Sequence[str], revisit: bool) -> list[dict[str, Any]]:
        """Lease up to `count` URLs of one host that no actor is busy with, shallow and early ones first.

        With `revisit` they are URLs visited in an earlier generation; each carries the validators for a
        conditional request, so that an unchanged page costs a 304.
        """
        with self._transaction():
            rows = self._rows(
                """
                WITH due AS (
                    SELECT * FROM frontier WHERE NOT list_contains(?, host)
                    AND CASE WHEN ? THEN state = 'done' AND visited_generation < ? ELSE state = 'pending' END
                ), chosen AS (SELECT host FROM due ORDER BY depth, discovered_generation, host LIMIT 1)
                SELECT url, host, depth, etag, last_modified FROM due WHERE host = (SELECT host FROM chosen)
                ORDER BY depth, discovered_generation, md5(url) LIMIT ?
                """,
                [list(busy_hosts), revisit, generation, count],
            )
            self._connection.execute(
                "UPDATE frontier SET state = 'leased', attempts = attempts + 1 WHERE list_contains(?, url)",
                [[row[0] for row in rows]],
            )
        names = ("url", "host", "depth", "etag", "last_modified")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def count_revisits(self, generation: int) -> int:
        """URLs visited in an earlier generation that this one has not asked again."""
        return int(
            self._value("SELECT count(*) FROM frontier WHERE state = 'done' AND visited_generation < ?", [generation])
        )

    def commit_crawl(self, pages: pa.Table, documents: pa.Table, links: pa.Table, outcomes: pa.Table) -> None:
        """Store what one batch of leased URLs gave, in one transaction.

        `links` has url, host, depth; `outcomes` has url, state, reason, etag, last_modified and retires
        the leases. A batch that is delivered twice changes nothing the second time.
        """
        generation = outcomes.column("generation")[0].as_py()
        with self._transaction():
            self._insert_new("page", pages, ["page_id"])
            self._insert_new("document", documents, ["document_id"])
            rows = zip(*(links.column(c).to_pylist() for c in ("url", "host", "depth")), strict=True)
            self.add_urls(list(rows), generation)
            self._connection.register("outcomes", outcomes)
            self._connection.execute(
                "UPDATE frontier SET state = o.state, reason = o.reason, visited_generation = o.generation,"
                " attempts = 0, etag = CASE WHEN o.etag = '' THEN frontier.etag ELSE o.etag END,"
                " last_modified = CASE WHEN o.last_modified = '' THEN frontier.last_modified ELSE o.last_modified END"
                " FROM outcomes o WHERE frontier.url = o.url"
            )
            self._connection.unregister("outcomes")

    def add_documents(self, documents: Sequence[Document], pages: Sequence[Page] = ()) -> None:
        """Store documents (and their pages) that did not come from a crawl batch."""
        with self._transaction():
            self._insert_new("page", to_table(Page, pages), ["page_id"])
            self._insert_new("document", to_table(Document, documents), ["document_id"])

    def crawl_counts(self, generation: int) -> dict[str, int]:
        """What a generation's crawl has done so far: fetched, unchanged, failed, forbidden, documents, bytes."""
        row = self._rows(
            "SELECT count(*) FILTER (status = 200), count(*) FILTER (status = 304),"
            " coalesce(sum(num_bytes), 0)::BIGINT FROM page WHERE generation = ?",
            [generation],
        )[0]
        states = dict(
            self._rows("SELECT state, count(*) FROM frontier WHERE visited_generation = ? GROUP BY state", [generation])
        )
        documents = self._value("SELECT count(*) FROM document WHERE generation = ?", [generation])
        waiting = self._value("SELECT count(*) FROM frontier WHERE state IN ('pending', 'leased')")
        return {
            "fetched": int(row[0]),
            "unchanged": int(row[1]),
            "bytes": int(row[2]),
            "failed": int(states.get("failed", 0)),
            "forbidden": int(states.get("forbidden", 0)),
            "documents": int(documents),
            "waiting": int(waiting),
        }

    def frontier_reasons(self) -> list[tuple[str, str, str]]:
        """(url, state, reason) of URLs that failed or were forbidden."""
        return self._rows(
            "SELECT url, state, reason FROM frontier WHERE state IN ('failed', 'forbidden') ORDER BY depth, url"
        )

    def documents(self, pool: str, generation: int | None = None) -> list[Document]:
        """Documents of a pool, of one generation or of all so far, in a fixed order."""
        return self._records(
            Document,
            "SELECT * FROM document WHERE pool = ? AND (?::BIGINT IS NULL OR generation = ?) ORDER BY document_id",
            [pool, generation, generation],
        )

    def pool_counts(self) -> dict[str, int]:
        """Documents in each pool."""
        return dict(self._rows("SELECT pool, count(*) FROM document GROUP BY pool"))
