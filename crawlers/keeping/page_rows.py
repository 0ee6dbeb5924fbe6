"""From a response to database rows: permission, the WARC record, the document, and its links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from crawlers.config import CrawlConfig
from crawlers.fetching.transport import Response
from crawlers.keeping import warc
from crawlers.keeping.pools import choose_pool, pools_by_domain
from crawlers.permission.robots import RobotsFile, sitemaps_in
from crawlers.permission.statements import (
    PURPOSES,
    PageMeta,
    Statement,
    deciding_statement,
    may_use,
    statements_about,
    unreadable_statements,
)
from crawlers.reading.parsed_body import BodyKind, ParsedBody, ParseTask
from crawlers.urls import canonical_url, registrable_domain, trap_reason, url_host, url_section
from infra.records import Document, Page, Permission, content_key
from infra.store.frontier.records import HostLease, Lease, Link, Outcome, State
from infra.store.tables.crawl import CrawlRows

FLUSH_ROWS = 256
"""Number of pages after which rows are stored."""
TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")
XML_TYPES = (
    "application/xml",
    "text/xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/x-gzip",
    "application/gzip",
)
SITEMAP_WEIGHT = 1.0
MAX_BANDS_REMEMBERED = 500_000
"""MinHash bands remembered of each host, to notice repeated texts."""


class BodyParser(Protocol):
    """Parses hostile bytes where they can do no harm; never raises."""

    def parse(self, task: ParseTask) -> ParsedBody:
        """The contents of the body, or a `ParsedBody` with a failure."""
        ...


@dataclass
class PageRows:
    """The rows of one response.

    `denied` is the reason why the body must not be kept; "" if it may be kept in `record`.
    """

    page: Page
    outcome: Outcome
    denied: str = ""
    unchanged: bool = False
    record: bytes = b""
    document: Document | None = None
    parsed: ParsedBody | None = None
    permissions: list[Permission] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    drops: list[tuple[str, str]] = field(default_factory=list)

    def add_to(self, rows: CrawlRows) -> None:
        """Append to rows that are stored together."""
        rows.pages.append(self.page)
        rows.records.append(self.record)
        rows.outcomes.append(self.outcome)
        rows.permissions += self.permissions
        rows.links += self.links
        rows.drops += self.drops
        if self.document is not None and self.parsed is not None:
            add_document(rows, self.document, self.parsed)


def add_document(rows: CrawlRows, document: Document, parsed: ParsedBody) -> None:
    """Append a document with its signals and fingerprints."""
    rows.documents.append(document)
    key = document.document_id
    if parsed.other_text:
        rows.other_texts.append((key, parsed.other_text))
    rows.signals += [(key, name, value) for name, value in parsed.signals.items()]
    rows.bands += [(key, band, value, rows.generation) for band, value in enumerate(parsed.bands)]
    rows.grams += [(key, size, hashes) for size, hashes in sorted(parsed.grams.items())]


class PageRowsBuilder:
    """Turns responses into rows. `salt` belongs to the run; it decides which pool a page is in.

    A response is first parsed (slow, so outside the event loop), then its rows are built.
    """

    def __init__(
        self,
        config: CrawlConfig,
        seeds: Sequence[str],
        salt: str,
        generation: int,
        parser: BodyParser,
        follows_links: bool = True,
    ) -> None:
        self._config = config
        self._hosts = frozenset(url_host(seed) for seed in seeds)
        self._by_domain = pools_by_domain(config, seeds)
        self._salt = salt
        self._generation = generation
        self._parser = parser
        self._follows_links = follows_links
        self._seen_bands: dict[str, set[int]] = {}
        self.warcinfo = warc.warcinfo(config.full_user_agent, datetime.now(UTC))
        """The first record of a WARC file."""

    def parse(self, lease: Lease, response: Response) -> ParsedBody | None:
        """The contents of a response's body; None if it has none that can be read as text."""
        kind = _body_kind(lease.kind, response) if response.status == 200 else None
        if kind is None or not response.body:
            return None
        task = ParseTask(
            kind,
            lease.url,
            response.header("content-type"),
            self._config.mask_personal_data,
            response.body,
            self._follows_links,
        )
        return self._parser.parse(task)

    def build(
        self,
        lease: Lease,
        host: HostLease,
        response: Response,
        parsed: ParsedBody | None,
        robots: RobotsFile,
        reservation: bytes,
        at: float,
    ) -> PageRows:
        """The rows of a response of any status below 500; `parsed` comes from `parse`."""
        moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        statements = (
            self._statements(lease.url, robots, reservation, response, parsed)
            if response.body
            else []
        )
        verdicts = {purpose: deciding_statement(purpose, statements) for purpose in PURPOSES}
        pool = choose_pool(lease.url, host.domain, self._salt, self._config, self._by_domain)
        denied = self._denial(verdicts, pool) if lease.kind == "page" else ""
        page = self._page(lease, host, response, moment, verdicts)
        unchanged = response.status == 304 or (page.digest == lease.digest != "")
        page_rows = PageRows(
            page=page,
            denied=denied,
            unchanged=unchanged,
            outcome=_outcome(lease, response, page, denied, unchanged),
            permissions=[
                _permission(page, statement)
                for statement in verdicts.values()
                if statement.verdict != "unknown"
            ],
        )
        if page.location:
            page_rows.links += self._links([page.location], lease, lease.kind)
        if denied:
            page_rows.drops.append((f"denied: {denied}", lease.url))
        elif response.status == 200 and not unchanged:
            self._add_contents(page_rows, lease, parsed, pool)
        elif response.status >= 400:
            page_rows.drops.append((f"HTTP {response.status}", lease.url))
        return page_rows

    def build_robots_page(
        self, url: str, kind: str, host: HostLease, response: Response, at: float
    ) -> tuple[Page, bytes]:
        """Page and WARC record of a response that holds no document, such as robots.txt."""
        moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        lease = Lease(url, kind, 0, 1.0, int(at), "", "", "")
        verdicts = {purpose: Statement(purpose, "unknown", "", "") for purpose in PURPOSES}
        page = self._page(lease, host, response, moment, verdicts)
        record = warc.response(
            url, moment, response.address, response.status, response.headers, response.body
        )
        return page, record

    def warc_record(self, page_rows: PageRows, response: Response) -> bytes:
        """The WARC record of a response; b"" if its body must not be kept."""
        if page_rows.denied:
            return b""
        write = warc.revisit if page_rows.unchanged else warc.response
        page = page_rows.page
        return write(
            page.url,
            page.fetched_at,
            response.address,
            response.status,
            response.headers,
            response.body,
        )

    def sitemap_links(self, robots: bytes, origin: str) -> list[Link]:
        """The sitemaps in scope that a robots.txt names."""
        urls = [canonical_url(url, origin, self._config.sort_query) for url in sitemaps_in(robots)]
        lease = Lease(origin + "/", "sitemap", 0, SITEMAP_WEIGHT, 0, "", "", "")
        return self._links([url for url in urls if url], lease, "sitemap")

    # Permission.

    def _statements(
        self,
        url: str,
        robots: RobotsFile,
        reservation: bytes,
        response: Response,
        parsed: ParsedBody | None,
    ) -> list[Statement]:
        """All statements about the use of a page."""
        product = self._config.product
        meta = PageMeta()
        if parsed is not None:
            meta = PageMeta(parsed.meta_robots, parsed.meta_reservation)
        statements = statements_about(url, robots, reservation, response.headers, meta, product)
        if parsed is not None and parsed.failure:
            statements += unreadable_statements(response.body, product)
        return statements

    def _denial(self, verdicts: dict[str, Statement], pool: str) -> str:
        """Why a page must not be kept, "" if it may be kept.

        Pool `train` needs permission to train, the other pools permission to evaluate.
        """
        statement = verdicts["train" if pool == "train" else "evaluate"]
        if may_use(statement.verdict, self._config.unknown_permission == "allow"):
            return ""
        return statement.reason

    # Pages and documents.

    def _page(
        self,
        lease: Lease,
        host: HostLease,
        response: Response,
        moment: datetime,
        verdicts: dict[str, Statement],
    ) -> Page:
        location = None
        if 300 <= response.status < 400:
            location = canonical_url(response.header("location"), lease.url)
        return Page(
            page_id=content_key(lease.url, lease.visit),
            url=lease.url,
            host=host.host,
            domain=host.domain,
            section=url_section(lease.url),
            kind=lease.kind,
            visit=lease.visit,
            location=location or "",
            status=response.status,
            content_type=response.header("content-type")[:200],
            etag=response.header("etag")[:200],
            last_modified=response.header("last-modified")[:100],
            fetched_at=moment,
            digest=content_key(response.body) if response.body else "",
            num_bytes=len(response.body),
            generation=self._generation,
            train=verdicts["train"].verdict,
            evaluate=verdicts["evaluate"].verdict,
        )

    def _add_contents(
        self, page_rows: PageRows, lease: Lease, parsed: ParsedBody | None, pool: str
    ) -> None:
        """Add the links of a body and, if there is text to keep, its document."""
        if parsed is None or parsed.failure:
            page_rows.drops.append((parsed.failure if parsed else "not a text page", lease.url))
            return
        page_rows.links += self._links(parsed.links, lease, "page")
        page_rows.links += self._links(parsed.feeds, lease, "feed")
        page_rows.links += self._links(parsed.sitemaps, lease, "sitemap")
        if parsed.is_sitemap_or_feed or self._follow_canonical(parsed, lease, page_rows):
            return
        if not parsed.text:
            page_rows.drops.append(("no text", lease.url))
            return
        page_rows.parsed = parsed
        page_rows.document = _document(page_rows.page, parsed, pool)
        is_new_text = self._is_new_text(page_rows.page.host, parsed)
        page_rows.outcome = replace(page_rows.outcome, is_new_text=is_new_text)

    def _follow_canonical(self, parsed: ParsedBody, lease: Lease, page_rows: PageRows) -> bool:
        """Queue the canonical page instead of this one; False if this page is the one to keep."""
        if not parsed.canonical or parsed.canonical == lease.url:
            return False
        links = self._links([parsed.canonical], lease, "page", same_depth=True)
        if not links:
            return False
        page_rows.links += links
        page_rows.drops.append(("its canonical page is another", lease.url))
        return True

    def _is_new_text(self, host: str, parsed: ParsedBody) -> bool:
        """Whether this worker has seen no near-duplicate of the text on the host.

        A host that keeps sending the same text is probably a crawler trap.
        """
        seen = self._seen_bands.setdefault(host, set())
        is_known = any(band in seen for band in parsed.bands)
        if len(seen) < MAX_BANDS_REMEMBERED:
            seen.update(parsed.bands)
        return not is_known

    def _links(
        self, urls: Sequence[str], lease: Lease, kind: str, same_depth: bool = False
    ) -> list[Link]:
        """Links to URLs that are in scope, not too deep, and do not look like a trap."""
        depth = lease.depth if same_depth or kind != "page" else lease.depth + 1
        if depth > self._config.max_depth:
            return []
        weight = lease.weight * (1.0 if depth == lease.depth else self._config.depth_decay)
        links = []
        for url in urls:
            host = url_host(url)
            if (self._config.allow_other_hosts or host in self._hosts) and not trap_reason(url):
                links.append(
                    Link(url, host, registrable_domain(host), url_section(url), kind, depth, weight)
                )
        return links


def _outcome(lease: Lease, response: Response, page: Page, denied: str, unchanged: bool) -> Outcome:
    reason = f"denied: {denied}" if denied else ""
    if response.status >= 400:
        reason = f"HTTP {response.status}"
    is_page = response.status == 200 and lease.kind == "page"
    return Outcome(
        url=lease.url,
        state=State.FAILED if response.status >= 400 else State.DONE,
        reason=reason,
        etag=page.etag,
        last_modified=page.last_modified,
        digest=page.digest if response.status == 200 else lease.digest,
        num_bytes=len(response.body) if is_page else 0,
        is_new_text=unchanged,  # an unchanged page is no sign of a crawler trap
    )


def _permission(page: Page, statement: Statement) -> Permission:
    return Permission(
        page.page_id,
        page.url,
        statement.purpose,
        statement.verdict,
        statement.reason,
        statement.evidence,
        page.generation,
    )


def _document(page: Page, parsed: ParsedBody, pool: str) -> Document:
    return Document(
        document_id=content_key(page.page_id, "document"),
        page_id=page.page_id,
        url=page.url,
        title=parsed.title,
        text=parsed.text,
        language=parsed.language,
        extractor=parsed.extractor,
        pool=pool,
        generation=page.generation,
        status="new",
        text_digest=parsed.text_digest,
        other_digest=parsed.other_digest,
        disagreement=parsed.disagreement,
        num_masked=sum(parsed.masked.values()),
    )


def _body_kind(lease_kind: str, response: Response) -> BodyKind | None:
    """How to parse a body; None if it is neither a page nor a sitemap or feed."""
    content_type = response.header("content-type").split(";")[0].strip().lower()
    if lease_kind == "sitemap":
        return "sitemap"
    if lease_kind == "feed":
        return "feed"
    if content_type in ("text/plain", "text/markdown"):
        return "text"
    if content_type in TEXT_TYPES:
        return "html"
    if content_type in XML_TYPES:
        return "feed"
    return None
