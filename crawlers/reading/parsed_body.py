"""Input and output of parsing a body. Imports no parser, so it is cheap to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BodyKind = Literal["html", "text", "sitemap", "feed"]


@dataclass(frozen=True)
class ParseTask:
    """A body and how to parse it."""

    kind: BodyKind
    url: str
    content_type: str
    mask_personal_data: bool
    body: bytes = b""
    wants_links: bool = True


@dataclass(frozen=True)
class ParsedBody:
    """The contents of a body; `failure` is the reason if it could not be parsed.

    `other_text` is the text of the second extractor, set only if the two differ so much that a
    labeler should decide. `meta_robots` and `meta_reservation` are the page's own statements about
    its use, as its markup has them.
    """

    failure: str = ""
    is_sitemap_or_feed: bool = False
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
