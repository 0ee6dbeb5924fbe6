"""Reads pages from files (WARC or documents); rules and stored rows are those of a crawl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from crawlers.config import CrawlConfig
from crawlers.fetching.transport import Response
from crawlers.keeping.page_rows import FLUSH_ROWS, PageRows, PageRowsBuilder
from crawlers.keeping.warc import Capture
from crawlers.permission.robots import FORBIDDEN, RobotsFile, parse_robots
from crawlers.reading.reader_process import ReaderProcess
from crawlers.sources.sources import Captures
from crawlers.urls import canonical_url, registrable_domain, url_host, url_origin, url_path
from infra.store.frontier.records import HostLease, Lease, Limits
from infra.store.tables.crawl import CrawlRows, CrawlTables

TOO_LARGE = "body too large"
LOCAL_HOST = "file"


class IngestWorker:
    """Reads files of captures up to a number of pages.

    It continues where an earlier call or process stopped.
    """

    def __init__(self, config: CrawlConfig, salt: str, tables: CrawlTables) -> None:
        self._config = config
        self._salt = salt
        self._tables = tables

    def ingest(self, containers: Sequence[Captures], generation: int, limits: Limits) -> int:
        """Read and store up to `limits.pages` pages; returns their number."""
        config = self._config
        reader = ReaderProcess(
            config.product, config.extract_timeout_s, config.extract_memory_bytes
        )
        builder = PageRowsBuilder(config, [], self._salt, generation, reader, follows_links=False)
        num_pages = 0
        try:
            for container in containers:
                if num_pages >= limits.pages:
                    break
                remaining = replace(limits, pages=limits.pages - num_pages)
                num_pages += self._ingest_file(container, builder, generation, remaining)
        finally:
            reader.close()
        return num_pages

    def _ingest_file(
        self, container: Captures, builder: PageRowsBuilder, generation: int, limits: Limits
    ) -> int:
        num_pages = 0
        robots: dict[str, RobotsFile] = {}
        rows = CrawlRows(generation, limits, warcinfo=builder.warcinfo)
        start = self._tables.ingested_until(container.name)
        for capture, position in container.read(start, self._config.max_body_bytes):
            if num_pages >= limits.pages:
                break
            rows.ingested = (container.name, position)
            if self._add_capture(capture, container, builder, robots, rows):
                num_pages += 1
            if len(rows.pages) + len(rows.drops) >= FLUSH_ROWS:
                self._tables.commit(rows)
                rows = CrawlRows(generation, limits, warcinfo=builder.warcinfo)
        if rows.ingested:
            self._tables.commit(rows)
        return num_pages

    def _add_capture(
        self,
        capture: Capture,
        container: Captures,
        builder: PageRowsBuilder,
        robots: dict[str, RobotsFile],
        rows: CrawlRows,
    ) -> bool:
        """Add the rows of a capture; False if it is not a page.

        A robots.txt is put into `robots`, by origin.
        """
        is_file = capture.url.startswith("file:")
        url = capture.url if is_file else canonical_url(capture.url)
        if url is None:
            return False
        origin = "" if is_file else url_origin(url)
        if not is_file and url_path(url) == "/robots.txt":
            body = capture.body if capture.status == 200 else b""
            robots[origin] = RobotsFile(parse_robots(body), self._config.product)
            return False
        if len(capture.body) > self._config.max_body_bytes:
            rows.drops.append((TOO_LARGE, url))
            return True
        rules = robots.get(origin, RobotsFile([], self._config.product))
        if not is_file and not rules.allows(url_path(url)):
            rows.drops.append((FORBIDDEN, url))
            return True
        self._page_rows(capture, container, url, rules, builder).add_to(rows)
        rows.outcomes.clear()  # there is no lease to end
        return True

    def _page_rows(
        self,
        capture: Capture,
        container: Captures,
        url: str,
        rules: RobotsFile,
        builder: PageRowsBuilder,
    ) -> PageRows:
        host = LOCAL_HOST if url.startswith("file:") else url_host(url)
        domain = LOCAL_HOST if host == LOCAL_HOST else registrable_domain(host)
        at = capture.fetched_at.replace(tzinfo=UTC).timestamp()
        lease = Lease(url, "page", 0, 1.0, int(at), "", "", "")
        response = _capture_response(capture)
        parsed = builder.parse(lease, response)
        host_lease = HostLease(host, domain, 0.0, ())
        page_rows = builder.build(lease, host_lease, response, parsed, rules, b"", at)
        page_rows.links = []
        if capture.offset < 0:
            page_rows.record = builder.warc_record(page_rows, response)
        elif not page_rows.denied:  # the body stays in the WARC file that it was read from
            page_rows.page = replace(
                page_rows.page, warc_file=container.name, warc_offset=capture.offset
            )
        return page_rows


def _capture_response(capture: Capture) -> Response:
    """A capture as if it had just been fetched."""
    headers = capture.headers
    if capture.is_text:
        headers = headers | {"content-type": ["text/plain; charset=utf-8"]}
    return Response(capture.status, headers, capture.body)
