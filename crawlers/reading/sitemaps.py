"""URLs in sitemaps (also indexes and gzip), RSS and Atom feeds. A document type declaration is
refused.
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
MAX_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Listing:
    """Pages and further sitemaps that a listing names, in order; `failure` says why it could not be
    read.
    """

    pages: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()
    failure: str = ""


def unzipped(body: bytes) -> bytes | None:
    """A body without its gzip wrapping; None where it is broken or unpacks to more than the limit."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return data if len(data) <= MAX_BYTES else None


def read_listing(body: bytes) -> Listing:
    """The URLs of a sitemap (XML or plain text), a sitemap index, or a feed."""
    data = unzipped(body)
    if data is None:
        return Listing(failure="broken or oversized gzip")
    if data.lstrip()[:1] != b"<":
        lines = data.decode("utf-8", errors="replace").split()
        return Listing(pages=tuple(line for line in lines if line.startswith("http"))[:MAX_URLS])
    return _read_xml(data)


def _read_xml(data: bytes) -> Listing:
    found: dict[str, dict[str, None]] = {"page": {}, "sitemap": {}}
    path: list[str] = []
    try:
        for event, element in iterparse(io.BytesIO(data), events=("start", "end"), forbid_dtd=True):
            name = element.tag.rsplit("}", 1)[-1].lower() if isinstance(element.tag, str) else ""
            if event == "start":
                path.append(name)
                continue
            path.pop()
            url = _url_of(name, element.text, element.get("href"), element.get("rel"), path)
            if url:
                found["sitemap" if path and path[-1] == "sitemap" else "page"][url] = None
            element.clear()
            if len(found["page"]) + len(found["sitemap"]) >= MAX_URLS:
                break
    except DefusedXmlException:
        return Listing(failure="document type declaration refused")
    except (ParseError, ValueError, LookupError):
        if not (found["page"] or found["sitemap"]):
            return Listing(failure="not well-formed XML")
    return Listing(tuple(found["page"]), tuple(found["sitemap"]))


def _url_of(name: str, text: str | None, href: str | None, rel: str | None, path: list[str]) -> str:
    """The URL that an element carries: `loc` of a sitemap, `link` of an RSS item, `link href` of an
    Atom entry.
    """
    parent = path[-1] if path else ""
    if name == "loc" and parent in ("url", "sitemap"):
        return (text or "").strip()
    if name == "link" and parent in ("item", "entry"):
        if href:
            return href.strip() if rel in (None, "alternate") else ""
        return (text or "").strip()
    return ""
