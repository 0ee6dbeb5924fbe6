from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.reading import sitemaps as listings
from crawlers.reading.sitemaps import SitemapOrFeed, read_sitemap_or_feed

SITEMAP = b"""<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<url><loc> http://h/1 </loc><lastmod>2024-01-01</lastmod></url><url><loc>http://h/2?a=1&amp;b=2</loc></url></urlset>"""
INDEX = b"<sitemapindex><sitemap><loc>http://h/a.xml</loc></sitemap><sitemap><loc>http://h/b.xml</loc></sitemap></sitemapindex>"
RSS = b"<rss><channel><link>http://h/</link><item><link>http://h/n1</link></item><item><link>http://h/n2</link></item></channel></rss>"
ATOM = (
    b'<feed xmlns="http://www.w3.org/2005/Atom"><link href="http://h/"/>'
    b'<entry><link rel="self" href="http://h/x"/><link href="http://h/e1"/></entry></feed>'
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (SITEMAP, SitemapOrFeed(pages=("http://h/1", "http://h/2?a=1&b=2"))),
        (gzip.compress(SITEMAP), SitemapOrFeed(pages=("http://h/1", "http://h/2?a=1&b=2"))),
        (INDEX, SitemapOrFeed(sitemaps=("http://h/a.xml", "http://h/b.xml"))),
        (RSS, SitemapOrFeed(pages=("http://h/n1", "http://h/n2"))),
        (ATOM, SitemapOrFeed(pages=("http://h/e1",))),
        (b"http://h/1\nhttp://h/2\nnonsense\n", SitemapOrFeed(pages=("http://h/1", "http://h/2"))),
        (SITEMAP[:-40], SitemapOrFeed(pages=("http://h/1",))),
        (b"", SitemapOrFeed()),
        (b"<html><body>not a sitemap</body></html>", SitemapOrFeed()),
        (b"<urlset><url>", SitemapOrFeed(failure="not well-formed XML")),
        (b"\x1f\x8bbroken", SitemapOrFeed(failure="broken or oversized gzip")),
    ],
)
def test_listings(body: bytes, expected: SitemapOrFeed) -> None:
    assert read_sitemap_or_feed(body) == expected


@pytest.mark.parametrize(
    "declaration",
    [
        b'<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;">]>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        b"<!DOCTYPE urlset>",
    ],
)
def test_a_document_type_declaration_is_refused(declaration: bytes) -> None:
    listing = read_sitemap_or_feed(
        b"<?xml version='1.0'?>"
        + declaration
        + b"<urlset><url><loc>http://h/1</loc></url></urlset>"
    )
    assert listing == SitemapOrFeed(failure="document type declaration refused")


def test_a_gzip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "MAX_SITEMAP_BYTES", 2**20)
    assert read_sitemap_or_feed(gzip.compress(b" " * 2**22)).failure == "broken or oversized gzip"


def test_no_more_urls_than_the_protocol_allows() -> None:
    body = (
        b"<urlset>"
        + b"".join(b"<url><loc>http://h/%d</loc></url>" % i for i in range(50_010))
        + b"</urlset>"
    )
    assert len(read_sitemap_or_feed(body).pages) == 50_000


@given(st.binary(max_size=300))
def test_any_bytes_are_a_listing_or_a_failure(body: bytes) -> None:
    read_sitemap_or_feed(body)
    read_sitemap_or_feed(b"<urlset>" + body)
