"""From an answer to rows: what may be kept, the WARC record, the text, and the links it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from crawlers.config import CrawlConfig
from crawlers.fetching.transport import Answer
from crawlers.keeping import warc
from crawlers.keeping.pools import pool_of, pools_by_domain
from crawlers.permission.robots import RobotsFile, sitemaps_in
from crawlers.permission.statements import (
    PURPOSES,
    PageMeta,
    Word,
    may_use,
    unread_words,
    verdict_for,
    words_about,
)
from crawlers.reading.parsed_body import Digest, DigestTask, Kind
from crawlers.urls import canonical_url, host_of, registrable_domain, section_of, trap_reason
from infra.records import Document, Page, Permission, content_key
from infra.store.frontier.records import HostLease, Lease, Link, Outcome, State
from infra.store.tables.crawl import CrawlRows

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


class Digester(Protocol):
    """Reads a body in a place where it can do no harm; never raises."""

    def digest(self, task: DigestTask) -> Digest:
        """What is in the body, or a failure in a few words."""
        ...


@dataclass
class Taken:
    """What one answer gave. `denied` says why its body may not be kept, "" where it may be put into
    `record`.
    """

    page: Page
    outcome: Outcome
    denied: str = ""
    unchanged: bool = False
    record: bytes = b""
    document: Document | None = None
    digest: Digest | None = None
    permissions: list[Permission] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    drops: list[tuple[str, str]] = field(default_factory=list)

    def add_to(self, rows: CrawlRows) -> None:
        """Append to the rows that are stored together."""
        rows.pages.append(self.page)
        rows.records.append(self.record)
        rows.outcomes.append(self.outcome)
        rows.permissions += self.permissions
        rows.links += self.links
        rows.drops += self.drops
        if self.document is not None and self.digest is not None:
            add_document(rows, self.document, self.digest)


def add_document(rows: CrawlRows, document: Document, digest: Digest) -> None:
    """Append a document with its signals and fingerprints."""
    rows.documents.append(document)
    key = document.document_id
    if digest.other_text:
        rows.other_texts.append((key, digest.other_text))
    rows.signals += [(key, name, value) for name, value in digest.signals.items()]
    rows.bands += [(key, band, value, rows.generation) for band, value in enumerate(digest.bands)]
    rows.grams += [(key, size, hashes) for size, hashes in sorted(digest.grams.items())]


class Intake:
    """Applies permission, keeps bodies, has texts extracted. `salt` is the run's own and decides
    the pools.

    An answer is first read (slow, in the digester's own place, to be called off an event loop) and
    then taken.
    """

    def __init__(
        self,
        config: CrawlConfig,
        seeds: Sequence[str],
        salt: str,
        generation: int,
        digester: Digester,
        follows_links: bool = True,
    ) -> None:
        self._config = config
        self._hosts = frozenset(host_of(seed) for seed in seeds)
        self._by_domain = pools_by_domain(config, seeds)
        self._salt = salt
        self._generation = generation
        self._digester = digester
        self._follows_links = follows_links
        self._seen: dict[str, set[int]] = {}
        self.opening = warc.warcinfo(config.full_user_agent, datetime.now(UTC))
        """The record that begins a WARC file."""

    def read(self, lease: Lease, answer: Answer) -> Digest | None:
        """What is in an answer's body; None where there is none that could be read as text."""
        kind = _kind_of(lease.kind, answer) if answer.status == 200 and answer.body else None
        if kind is None:
            return None
        content_type, masks = answer.header("content-type"), self._config.mask_personal_data
        return self._digester.digest(
            DigestTask(kind, lease.url, content_type, masks, answer.body, self._follows_links)
        )

    def take(
        self,
        lease: Lease,
        host: HostLease,
        answer: Answer,
        digest: Digest | None,
        robots: RobotsFile,
        reservation: bytes,
        at: float,
    ) -> Taken:
        """Rows from one answer of any status below 500 and what was read in it."""
        moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        words = self._words(lease.url, robots, reservation, answer, digest) if answer.body else []
        verdicts = {purpose: verdict_for(purpose, words) for purpose in PURPOSES}
        pool = pool_of(lease.url, host.domain, self._salt, self._config, self._by_domain)
        denied = self._denial(verdicts, pool) if lease.kind == "page" else ""
        page = self._page(lease, host, answer, moment, verdicts)
        unchanged = answer.status == 304 or (page.digest == lease.digest != "")
        taken = Taken(
            page=page,
            denied=denied,
            unchanged=unchanged,
            outcome=self._outcome(lease, answer, page, denied, unchanged),
            permissions=[
                self._permission(page, word)
                for word in verdicts.values()
                if word.verdict != "unknown"
            ],
        )
        if page.location:
            taken.links += self._followed([page.location], lease, lease.kind)
        if denied:
            taken.drops.append((f"denied: {denied}", lease.url))
        elif answer.status == 200 and not unchanged:
            self._take_text(taken, lease, digest, pool)
        elif answer.status >= 400:
            taken.drops.append((f"HTTP {answer.status}", lease.url))
        return taken

    def keep_whole(
        self, url: str, kind: str, host: HostLease, answer: Answer, at: float
    ) -> tuple[Page, bytes]:
        """Page and WARC record of an answer that is no document, such as robots.txt."""
        moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        lease = Lease(url, kind, 0, 1.0, int(at), "", "", "")
        page = self._page(
            lease, host, answer, moment, {p: Word(p, "unknown", "", "") for p in PURPOSES}
        )
        return page, warc.response(
            url, moment, answer.address, answer.status, answer.headers, answer.body
        )

    def _words(
        self,
        url: str,
        robots: RobotsFile,
        reservation: bytes,
        answer: Answer,
        digest: Digest | None,
    ) -> list[Word]:
        product = self._config.product
        meta = (
            PageMeta(digest.meta_robots, digest.meta_reservation)
            if digest is not None
            else PageMeta()
        )
        words = words_about(url, robots, reservation, answer.headers, meta, product)
        return (
            words + unread_words(answer.body, product)
            if digest is not None and digest.failure
            else words
        )

    def _denial(self, verdicts: dict[str, Word], pool: str) -> str:
        """Why a page may not be kept ("" where it may): training needs one purpose, the other pools
        the other.
        """
        word = verdicts["train" if pool == "train" else "evaluate"]
        if may_use(word.verdict, self._config.unknown_permission == "allow"):
            return ""
        return word.reason

    def _page(
        self,
        lease: Lease,
        host: HostLease,
        answer: Answer,
        moment: datetime,
        verdicts: dict[str, Word],
    ) -> Page:
        location = (
            canonical_url(answer.header("location"), lease.url)
            if 300 <= answer.status < 400
            else None
        )
        return Page(
            page_id=content_key(lease.url, lease.visit),
            url=lease.url,
            host=host.host,
            domain=host.domain,
            section=section_of(lease.url),
            kind=lease.kind,
            visit=lease.visit,
            location=location or "",
            status=answer.status,
            content_type=answer.header("content-type")[:200],
            etag=answer.header("etag")[:200],
            last_modified=answer.header("last-modified")[:100],
            fetched_at=moment,
            digest=content_key(answer.body) if answer.body else "",
            num_bytes=len(answer.body),
            generation=self._generation,
            train=verdicts["train"].verdict,
            evaluate=verdicts["evaluate"].verdict,
        )

    def record(self, taken: Taken, answer: Answer) -> bytes:
        """The WARC record of an answer that was taken; b"" where its body may not be kept."""
        if taken.denied:
            return b""
        write = warc.revisit if taken.unchanged else warc.response
        page = taken.page
        return write(
            page.url, page.fetched_at, answer.address, answer.status, answer.headers, answer.body
        )

    def _outcome(
        self, lease: Lease, answer: Answer, page: Page, denied: str, unchanged: bool
    ) -> Outcome:
        state = State.FAILED if answer.status >= 400 else State.DONE
        reason = (
            f"HTTP {answer.status}"
            if answer.status >= 400
            else f"denied: {denied}"
            if denied
            else ""
        )
        digest = page.digest if answer.status == 200 else lease.digest
        size = len(answer.body) if answer.status == 200 and lease.kind == "page" else 0
        return Outcome(
            lease.url, state, reason, page.etag, page.last_modified, digest, size, unchanged
        )

    def _permission(self, page: Page, word: Word) -> Permission:
        return Permission(
            page.page_id,
            page.url,
            word.purpose,
            word.verdict,
            word.reason,
            word.evidence,
            page.generation,
        )

    def _take_text(self, taken: Taken, lease: Lease, digest: Digest | None, pool: str) -> None:
        """Take over a body's text and links."""
        if digest is None or digest.failure:
            taken.drops.append((digest.failure if digest else "not a text page", lease.url))
            return
        taken.links += self._followed(digest.links, lease, "page")
        taken.links += self._followed(digest.feeds, lease, "feed") + self._followed(
            digest.sitemaps, lease, "sitemap"
        )
        if digest.is_listing:
            return
        if self._is_elsewhere(digest, lease, taken):
            return
        if not digest.text:
            taken.drops.append(("no text", lease.url))
            return
        taken.digest = digest
        taken.document = self._document(taken.page, digest, pool)
        taken.outcome = replace(
            taken.outcome, is_new_text=self._is_new_text(taken.page.host, digest)
        )

    def _is_elsewhere(self, digest: Digest, lease: Lease, taken: Taken) -> bool:
        """Whether the page names another one of this crawl as its canonical self, which is then
        fetched instead.
        """
        other = digest.canonical
        if not other or other == lease.url:
            return False
        links = self._followed([other], lease, "page", same_depth=True)
        if not links:
            return False
        taken.links += links
        taken.drops.append(("its canonical page is another", lease.url))
        return True

    def _document(self, page: Page, digest: Digest, pool: str) -> Document:
        return Document(
            document_id=content_key(page.page_id, "document"),
            page_id=page.page_id,
            url=page.url,
            title=digest.title,
            text=digest.text,
            language=digest.language,
            extractor=digest.extractor,
            pool=pool,
            generation=page.generation,
            status="new",
            text_digest=digest.text_digest,
            other_digest=digest.other_digest,
            disagreement=digest.disagreement,
            num_masked=sum(digest.masked.values()),
        )

    def _is_new_text(self, host: str, digest: Digest) -> bool:
        """Whether this worker has seen no text much like it from the host; a trap brings the same
        on and on.
        """
        seen = self._seen.setdefault(host, set())
        known = any(band in seen for band in digest.bands)
        if len(seen) < 500_000:
            seen.update(digest.bands)
        return not known

    # Links.

    def _followed(
        self, found: Sequence[str], lease: Lease, kind: str, same_depth: bool = False
    ) -> list[Link]:
        """Links worth adding: in scope, not too deep, no traps."""
        depth = lease.depth if same_depth or kind != "page" else lease.depth + 1
        if depth > self._config.max_depth:
            return []
        weight = lease.weight * (1.0 if depth == lease.depth else self._config.depth_decay)
        links = []
        for url in found:
            host = host_of(url)
            if (self._config.allow_other_hosts or host in self._hosts) and not trap_reason(url):
                links.append(
                    Link(url, host, registrable_domain(host), section_of(url), kind, depth, weight)
                )
        return links

    def sitemap_links(self, robots: bytes, origin: str) -> list[Link]:
        """The sitemaps that a robots.txt names, as far as they are in scope."""
        found = [canonical_url(url, origin, self._config.sort_query) for url in sitemaps_in(robots)]
        lease = Lease(origin + "/", "sitemap", 0, SITEMAP_WEIGHT, 0, "", "", "")
        return self._followed([url for url in found if url], lease, "sitemap")


def _kind_of(leased_as: str, answer: Answer) -> Kind | None:
    """How to read a body: as html, text, sitemap or feed; None where it is none of them."""
    content_type = answer.header("content-type").split(";")[0].strip().lower()
    if leased_as == "sitemap":
        return "sitemap"
    if leased_as == "feed":
        return "feed"
    if content_type in ("text/plain", "text/markdown"):
        return "text"
    if content_type in TEXT_TYPES:
        return "html"
    if content_type in XML_TYPES:
        return "feed"
    return None
