"""What goes into reading a body and what comes out; light to import, for those who only hand it on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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

    def with_body(self, body: bytes) -> DigestTask:
        """The task with its body."""
        return replace(self, body=body)


@dataclass(frozen=True)
class Digest:
    """What a body holds; `failure` says why it could not be read."""

    failure: str = ""
    title: str = ""
    text: str = ""
    language: str = ""
    extractor: str = ""
    canonical: str = ""
    links: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()
    text_digest: str = ""
    other_digest: str = ""
    disagreement: float = 0.0
    masked: dict[str, int] = field(default_factory=dict)
    signals: dict[str, float] = field(default_factory=dict)
    bands: list[int] = field(default_factory=list)
    grams: dict[int, list[int]] = field(default_factory=dict)
