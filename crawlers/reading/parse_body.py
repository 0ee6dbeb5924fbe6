"""Everything that is read out of one body: text, links, language, signals, fingerprints. Plain
functions on bytes.

This is where hostile bytes meet parsers written in C, so a crawl calls it in a child process
(`crawlers.reading.reader_process`) that may be killed.
"""

from __future__ import annotations

import re
from dataclasses import replace

from resiliparse.parse.html import HTMLTree

from crawlers.permission.statements import read_meta
from crawlers.quality.fingerprints import disagreement, minhash_bands, sampled_grams, text_digest
from crawlers.quality.signals import signals_of
from crawlers.quality.words import STOP_WORDS, plain_hashes
from crawlers.reading.html_text import Text, decode, language_of, main_text, plain_text, read_markup
from crawlers.reading.parsed_body import Digest, DigestTask
from crawlers.reading.personal_data import mask
from crawlers.reading.sitemaps import read_listing
from crawlers.urls import canonical_url

MAX_TEXT_CHARS = 1_000_000
LARGE_DISAGREEMENT = 0.5
"""From here on two extractions of a page are kept both, and a labeler says which one reads better.
"""
MAX_NESTING = 2000
"""Deeper trees are refused: parsers walk them by recursion or in quadratic time."""
_VOID = re.compile(
    rb"<(?:area|base|br|col|embed|hr|img|input|link|meta|p|li|td|tr|th|dd|dt|option|source|wbr)\b",
    re.IGNORECASE,
)


def digest(task: DigestTask, product: str = "") -> Digest:
    """Read a body. Raises nothing but what running out of memory or stack raises."""
    if task.kind in ("sitemap", "feed"):
        return _digest_listing(task)
    if task.kind == "text":
        source = decode(task.body, task.content_type)
        return describe(plain_text(source), task, Digest(title=task.url.rsplit("/", 1)[-1][:300]))
    if _nesting(task.body) > MAX_NESTING:
        return Digest(failure="elements nested too deep")
    source = decode(task.body, task.content_type)
    tree = HTMLTree.parse(source)
    meta = read_meta(task.body, tree, product)
    markup = read_markup(tree, task.url, task.wants_links and not meta.nofollow)
    found = Digest(
        title=markup.title,
        canonical=markup.canonical,
        meta_robots=meta.robots,
        meta_reservation=meta.reservation,
        links=markup.links,
        feeds=markup.feeds,
        sitemaps=markup.sitemaps,
    )
    return describe(main_text(source, tree, markup.listing_chars), task, found)


def _digest_listing(task: DigestTask) -> Digest:
    listing = read_listing(task.body)
    pages = [canonical_url(url, task.url) for url in listing.pages]
    sitemaps = [canonical_url(url, task.url) for url in listing.sitemaps]
    return Digest(
        failure=listing.failure,
        is_listing=True,
        links=tuple(dict.fromkeys(url for url in pages if url)),
        sitemaps=tuple(dict.fromkeys(url for url in sitemaps if url)),
    )


def _nesting(body: bytes) -> int:
    """An upper bound on how deep elements nest: those that are opened and never closed, or are open
    at once.

    A page with few elements cannot nest deep, so most pages cost one count.
    """
    opened = body.count(b"<") - body.count(b"</")
    if opened <= MAX_NESTING:
        return opened
    depth = deepest = 0
    for mark in re.finditer(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)|(/>)", body):
        if mark.group(3) or mark.group(1):
            depth = max(0, depth - 1)
        elif not _VOID.match(b"<" + mark.group(2)):
            depth += 1
            deepest = max(deepest, depth)
    return deepest


def describe(text: Text, task: DigestTask, found: Digest) -> Digest:
    """Mask, measure and fingerprint a text."""
    chosen = text.text[:MAX_TEXT_CHARS]
    masked: dict[str, int] = {}
    if task.mask_personal_data:
        chosen, masked = mask(chosen)
    if not chosen:
        return found
    hashes = plain_hashes(chosen)
    language, probability = language_of(chosen)
    signals = signals_of(chosen) | {"language_probability": probability}
    if language not in ("en", ""):
        signals["num_stop_words"] = float(
            len(STOP_WORDS)
        )  # the list is English and says nothing about others
    apart = disagreement(text.text, text.other) if text.other else 0.0
    other = text.other[:MAX_TEXT_CHARS] if apart >= LARGE_DISAGREEMENT else ""
    return replace(
        found,
        text=chosen,
        language=language,
        extractor=text.extractor,
        text_digest=text_digest(chosen),
        other_digest=text_digest(text.other) if text.other else "",
        disagreement=apart,
        other_text=mask(other)[0] if task.mask_personal_data else other,
        masked=masked,
        signals=signals,
        bands=minhash_bands(hashes),
        grams=sampled_grams(hashes),
    )
