"""Records of a crawl: pages as fetched, what sites permit, requests, and documents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Page:
    """One answer to one visit of a URL; the body lies in a WARC file, or nowhere where a rule
    denied keeping it.

    `kind` is page, sitemap or feed. `train` and `evaluate` are the site's word on each use: allow,
    deny or unknown. `warc_file` is "" where no body is kept.
    """

    page_id: str
    url: str
    host: str
    domain: str
    section: str
    kind: str
    visit: int
    location: str
    status: int
    content_type: str
    etag: str
    last_modified: str
    fetched_at: datetime
    digest: str
    num_bytes: int
    generation: int
    train: str
    evaluate: str
    warc_file: str = ""
    warc_offset: int = 0
    warc_length: int = 0


@dataclass(frozen=True)
class Permission:
    """What decided one purpose (train, evaluate) for one page, with the words it was read from."""

    page_id: str
    url: str
    purpose: str
    verdict: str
    reason: str
    evidence: str
    generation: int


@dataclass(frozen=True)
class Request:
    """One line of the fetch log: everything an auditor needs to tell whether a crawl was polite.

    Times are seconds since the epoch. `configured_delay_s`, `crawl_delay_s` and `own` are what the
    delay after this request was made from; `retry_after_s` is what the server asked for (0:
    nothing).
    """

    request_id: str
    generation: int
    worker: int
    host: str
    domain: str
    address: str
    url: str
    kind: str
    started_at: float
    ended_at: float
    status: int
    num_bytes: int
    configured_delay_s: float
    crawl_delay_s: float
    own: bool
    retry_after_s: float
    failure: str


@dataclass(frozen=True)
class Document:
    """Text extracted from one page. `pool` is train, gate or sealed, fixed before any labeler sees
    the text.

    `status` is kept, or why the text is of no use: filtered, duplicate, contaminated, denied,
    forgotten (the text is gone), or new until the generation's crawl has been curated.
    """

    document_id: str
    page_id: str
    url: str
    title: str
    text: str
    language: str
    extractor: str
    pool: str
    generation: int
    status: str = "kept"
    reason: str = ""
    cluster_id: str = ""
    cluster_size: int = 1
    text_digest: str = ""
    other_digest: str = ""
    disagreement: float = 0.0
    num_masked: int = 0
