"""Records of a crawl: fetched pages, permissions, requests, and documents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Page:
    """The response to one visit of a URL. Its body is in a WARC file, if it may be kept.

    `kind` is page, sitemap, feed or robots. `train` and `evaluate` are what the site states
    about each use: allow, deny or unknown. `warc_file` is "" if the body is not kept.
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
    """The statement that decides a purpose (train, evaluate) for a page, and its source text."""

    page_id: str
    url: str
    purpose: str
    verdict: str
    reason: str
    evidence: str
    generation: int


@dataclass(frozen=True)
class Request:
    """A line of the fetch log, with all that is needed to check that the crawl was polite.

    Times are seconds since the epoch. The delay after this request was computed from
    `configured_delay_s`, `crawl_delay_s` and `own`; `retry_after_s` is the wait that the server
    asked for (0: none).
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
    """The text extracted from a page.

    `pool` is train, gate, sealed or development, chosen before any labeler sees the text. `status`
    is new until the crawl of the generation is curated, then kept, filtered, duplicate,
    contaminated, denied or forgotten (the text is removed).
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
