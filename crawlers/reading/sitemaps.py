"""Reads URLs from sitemaps (also indexes and gzip) and from RSS and Atom feeds.

XML with a document type declaration is refused.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

MAX_URLS = 50_000
"""The sitemap protocol's own limit for one file."""
MAX_SITEMAP_BYTES = 50 * 2**20


@dataclass(frozen=True)
class SitemapOrFeed:
    """The pages and further sitemaps that a file lists, in order.

    `failure` is the reason if it could not be read.
    """

    pages: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()
    failure: str = ""


def unzipped(body: bytes) -> bytes | None:
    """A body without gzip compression; None if it is broken or larger than `MAX_SITEMAP_BYTES`."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            data = file.read(MAX_SITEMAP_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return data if len(data) <= MAX_SITEMAP_BYTES else None


def read_sitemap_or_feed(body: bytes) -> SitemapOrFeed:
    """The URLs of a sitemap (XML or plain text), a sitemap index, or a feed."""
    data = unzipped(body)
    if data is None:
        return SitemapOrFeed(failure="broken or oversized gzip")
    if data.lstrip()[:1] != b"<":
        lines = data.decode("utf-8", errors="replace").split()
        return SitemapOrFeed(
            pages=tuple(line for line in lines if line.startswith("http"))[:MAX_URLS]
        )
    return _read_xml(data)


def _read_xml(data: bytes) -> SitemapOrFeed:
    urls: dict[str, dict[str, None]] = {"page": {}, "sitemap": {}}
    path: list[str] = []
    try:
        for event, element in iterparse(io.BytesIO(data), events=("start", "end"), forbid_dtd=True):
            name = element.tag.rsplit("}", 1)[-1].lower() if isinstance(element.tag, str) else ""
            if event == "start":
                path.append(name)
                continue
            path.pop()
            parent = path[-1] if path else ""
            url = _element_url(name, parent, element.text, element.get("href"), element.get("rel"))
            if url:
                urls["sitemap" if parent == "sitemap" else "page"][url] = None
            element.clear()
            if len(urls["page"]) + len(urls["sitemap"]) >= MAX_URLS:
                break
    except DefusedXmlException:
        return SitemapOrFeed(failure="document type declaration refused")
    except (ParseError, ValueError, LookupError):
        if not (urls["page"] or urls["sitemap"]):
            return SitemapOrFeed(failure="not well-formed XML")
    return SitemapOrFeed(tuple(urls["page"]), tuple(urls["sitemap"]))


def _element_url(
    name: str, parent: str, text: str | None, href: str | None, rel: str | None
) -> str:
    """The URL of an element, "" if it has none.

    It is the text of `loc` in a sitemap, of `link` in an RSS item, or `href` of an Atom entry.
    """
    if name == "loc" and parent in ("url", "sitemap"):
        return (text or "").strip()
    if name == "link" and parent in ("item", "entry"):
        if href:
            return href.strip() if rel in (None, "alternate") else ""
        return (text or "").strip()
    return ""
