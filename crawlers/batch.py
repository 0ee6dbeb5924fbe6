"""One batch from leases to rows: fetch, extract, assign pools, find links. Plain functions, no Ray."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from crawlers.config import CrawlConfig
from crawlers.crawl import Runner
from crawlers.extract import EXTRACTOR, Extracted, extract
from crawlers.robots import FORBIDDEN
from crawlers.spider import Fetch, Lease
from crawlers.urls import host_of
from infra.records import Document, Page, content_key, unit_hash
from infra.tables import to_table

TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain")


@dataclass(frozen=True)
class BatchRows:
    """What one batch gave, as Arrow tables for `Store.commit_crawl`, and its drops as (reason, url)."""

    pages: pa.Table
    documents: pa.Table
    links: pa.Table
    outcomes: pa.Table
    drops: list[tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """How a lease ended: the frontier's new state for its URL."""

    url: str
    state: str
    reason: str
    etag: str
    last_modified: str
    generation: int


@dataclass(frozen=True)
class Link:
    """A URL found on a page, and how many links it is away from a seed."""

    url: str
    host: str
    depth: int


def pool_of(url: str, salt: str, config: CrawlConfig) -> str:
    """The pool of a page's text: train, gate or sealed, by a salted hash of its URL, whatever it says."""
    place = unit_hash(salt, "pool", url)
    if place < config.gate_share:
        return "gate"
    return "sealed" if place < config.gate_share + config.sealed_share else "train"


def _outcome(fetch: Fetch, generation: int) -> Outcome:
    if fetch.failure == FORBIDDEN:
        state, reason = "forbidden", fetch.failure
    elif fetch.failure:
        state, reason = "failed", fetch.failure
    elif fetch.status >= 400:
        state, reason = "failed", f"HTTP {fetch.status}"
    else:
        state, reason = "done", ""
    return Outcome(fetch.url, state, reason, fetch.etag, fetch.last_modified, generation)


def _page(fetch: Fetch, generation: int) -> Page:
    digest = content_key(fetch.body)
    return Page(
        page_id=content_key(fetch.url, fetch.status, digest, generation),
        url=fetch.url,
        final_url=fetch.location or fetch.url,
        status=fetch.status,
        content_type=fetch.content_type,
        etag=fetch.etag,
        last_modified=fetch.last_modified,
        fetched_at=fetch.fetched_at,
        digest=digest,
        num_bytes=len(fetch.body),
        body_gzip=gzip.compress(fetch.body, 6, mtime=0) if fetch.body else b"",
        generation=generation,
    )


def _followed(found: Sequence[str], depth: int, config: CrawlConfig, hosts: frozenset[str]) -> list[Link]:
    if depth > config.max_depth:
        return []
    links = [Link(url, host_of(url), depth) for url in found]
    return [link for link in links if config.allow_other_hosts or link.host in hosts]


def _document(page: Page, extracted: Extracted, salt: str, config: CrawlConfig) -> Document:
    return Document(
        document_id=content_key(extracted.text),
        page_id=page.page_id,
        url=page.url,
        title=extracted.title,
        text=extracted.text,
        language=extracted.language,
        extractor=EXTRACTOR,
        pool=pool_of(page.url, salt, config),
        generation=page.generation,
    )


def crawl_batch(leases: Sequence[Lease], runner: Runner, config: CrawlConfig, salt: str, generation: int) -> BatchRows:
    """Fetch the leases (all of one host) and turn what came back into rows.

    `salt` is the run's own; it decides the pools and must not be known to who writes the pages.
    """
    hosts = frozenset(host_of(seed) for seed in config.seeds)
    pages: list[Page] = []
    documents: list[Document] = []
    links: dict[str, Link] = {}
    outcomes: list[Outcome] = []
    drops: list[tuple[str, str]] = []
    for lease, fetch in zip(leases, runner.fetch(leases, config), strict=True):
        outcomes.append(_outcome(fetch, generation))
        if fetch.failure or fetch.status >= 400:
            drops.append((outcomes[-1].reason.split(":")[0], fetch.url))
            continue
        page = _page(fetch, generation)
        pages.append(page)
        if fetch.location:
            links.update((link.url, link) for link in _followed([fetch.location], lease.depth + 1, config, hosts))
        if fetch.status != 200:
            continue
        if fetch.content_type.split(";")[0].strip().lower() not in TEXT_TYPES:
            drops.append(("not a text page", fetch.url))
            continue
        extracted = extract(fetch.body, fetch.content_type, fetch.url)
        links.update((link.url, link) for link in _followed(extracted.links, lease.depth + 1, config, hosts))
        if len(extracted.text) < config.min_document_chars:
            drops.append(("too little text", fetch.url))
            continue
        documents.append(_document(page, extracted, salt, config))
    return BatchRows(
        pages=to_table(Page, pages),
        documents=to_table(Document, documents),
        links=to_table(Link, list(links.values())),
        outcomes=to_table(Outcome, outcomes),
        drops=drops,
    )
