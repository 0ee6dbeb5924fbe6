"""What goes into reading a body and what comes out; light to import, for those who only hand it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["html", "text", "sitemap", "feed"]


@dataclass(frozen=True)
class DigestTask:
    """A body and how to read it."""

    kind: Kind
    url: str
    content_type: str
    mask_personal_data: bool
    body: bytes = b""
    wants_links: bool = True


@dataclass(frozen=True)
class Digest:
    """What a body holds; `failure` says why it could not be read.

    `other_text` is what the other extractor found, where the two disagree so much that a labeler
    should decide. `meta_robots` and `meta_reservation` are the page's own words on its use, as
    markup has them.
    """

    failure: str = ""
    is_listing: bool = False
    title: str = ""
    text: str = ""
    language: str = ""
    extractor: str = ""
    canonical: str = ""
    meta_robots: tuple[str, ...] = ()
    meta_reservation: str = ""
    links: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()
    text_digest: str = ""
    other_digest: str = ""
    disagreement: float = 0.0
    other_text: str = ""
    masked: dict[str, int] = field(default_factory=dict)
    signals: dict[str, float] = field(default_factory=dict)
    bands: list[int] = field(default_factory=list)
    grams: dict[int, list[int]] = field(default_factory=dict)
