"""Pages that somebody else fetched, or that lie in files: the same rules and the same rows as for a
crawl.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from crawlers.config import CrawlConfig
from crawlers.fetching.session import FLUSH_ROWS
from crawlers.fetching.transport import Answer
from crawlers.keeping.page_rows import Intake, Taken
from crawlers.keeping.warc import Capture
from crawlers.permission.robots import FORBIDDEN, RobotsFile, parse
from crawlers.reading.reader_process import DigestChild
from crawlers.sources.sources import Captures
from crawlers.urls import canonical_url, host_of, origin_of, path_of, registrable_domain
from infra.store.frontier.records import HostLease, Lease, Limits
from infra.store.tables.crawl import CrawlRows, CrawlTables

TOO_LARGE = "body too large"
LOCAL_HOST = "file"


class IngestWorker:
    """Reads containers of captures up to a number of pages; goes on where an earlier call, or
    process, stopped.
    """

    def __init__(self, config: CrawlConfig, salt: str, tables: CrawlTables) -> None:
        self._config = config
        self._salt = salt
        self._tables = tables

    def ingest(self, containers: Sequence[Captures], generation: int, limits: Limits) -> int:
        """Read pages and commit them; how many. Stops at `limits.pages`."""
        config = self._config
        child = DigestChild(config.product, config.extract_timeout_s, config.extract_memory_bytes)
        intake = Intake(config, [], self._salt, generation, child, follows_links=False)
        taken = 0
        try:
            for container in containers:
                if taken >= limits.pages:
                    break
                taken += self._ingest_one(
                    container, intake, generation, replace(limits, pages=limits.pages - taken)
                )
        finally:
            child.close()
        return taken

    def _ingest_one(
        self, container: Captures, intake: Intake, generation: int, limits: Limits
    ) -> int:
        number = 0
        robots: dict[str, RobotsFile] = {}
        rows = CrawlRows(generation, limits, opening=intake.opening)
        start = self._tables.ingested_until(container.name)
        for capture, position in container.read(start, self._config.max_body_bytes):
            if number >= limits.pages:
                break
            rows.ingested = (container.name, position)
            if self._take(capture, container, intake, robots, rows):
                number += 1
            if len(rows.pages) + len(rows.drops) >= FLUSH_ROWS:
                self._tables.commit(rows)
                rows = CrawlRows(generation, limits, opening=intake.opening)
        if rows.ingested:
            self._tables.commit(rows)
        return number

    def _take(
        self,
        capture: Capture,
        container: Captures,
        intake: Intake,
        robots: dict[str, RobotsFile],
        rows: CrawlRows,
    ) -> bool:
        """Rows from one capture; whether it was a page."""
        is_file = capture.url.startswith("file:")
        url = capture.url if is_file else canonical_url(capture.url)
        if url is None:
            return False
        origin = "" if is_file else origin_of(url)
        if not is_file and path_of(url) == "/robots.txt":
            robots[origin] = RobotsFile(
                parse(capture.body if capture.status == 200 else b""), self._config.product
            )
            return False
        if len(capture.body) > self._config.max_body_bytes:
            rows.drops.append((TOO_LARGE, url))
            return True
        rules = robots.get(origin, RobotsFile([], self._config.product))
        if not is_file and not rules.allows(path_of(url)):
            rows.drops.append((FORBIDDEN, url))
            return True
        answer = _answer_of(capture)
        taken = self._rows_of(capture, answer, url, rules, intake)
        if capture.offset < 0:
            taken.record = intake.record(taken, answer)
        elif not taken.denied:  # the body lies in the container already
            taken.page = replace(taken.page, warc_file=container.name, warc_offset=capture.offset)
        taken.links = []
        taken.add_to(rows)
        rows.outcomes.clear()
        return True

    def _rows_of(
        self, capture: Capture, answer: Answer, url: str, rules: RobotsFile, intake: Intake
    ) -> Taken:
        host = LOCAL_HOST if url.startswith("file:") else host_of(url)
        domain = LOCAL_HOST if host == LOCAL_HOST else registrable_domain(host)
        at = capture.fetched_at.replace(tzinfo=UTC).timestamp()
        lease = Lease(url, "page", 0, 1.0, int(at), "", "", "")
        digest = intake.read(lease, answer)
        return intake.take(lease, HostLease(host, domain, 0.0, ()), answer, digest, rules, b"", at)


def _answer_of(capture: Capture) -> Answer:
    headers = capture.headers | (
        {"content-type": ["text/plain; charset=utf-8"]} if capture.is_text else {}
    )
    return Answer(capture.status, headers, capture.body)
