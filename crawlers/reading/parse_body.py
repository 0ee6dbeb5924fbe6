"""Parses a body: text, links, language, quality signals and fingerprints.

Hostile bytes meet parsers written in C here. A crawl therefore calls this in a child process that
may be killed (`crawlers.reading.reader_process`).
"""

from __future__ import annotations

import re
from dataclasses import replace

from resiliparse.parse.html import HTMLTree

from crawlers.permission.statements import read_meta
from crawlers.quality.fingerprints import disagreement, minhash_bands, sampled_grams, text_digest
from crawlers.quality.signals import quality_signals
from crawlers.quality.words import STOP_WORDS, plain_hashes
from crawlers.reading.html_text import (
    Text,
    decode,
    detect_language,
    main_text,
    plain_text,
    read_markup,
)
from crawlers.reading.parsed_body import ParsedBody, ParseTask
from crawlers.reading.personal_data import mask
from crawlers.reading.sitemaps import read_sitemap_or_feed
from crawlers.urls import canonical_url

MAX_TEXT_CHARS = 1_000_000
LARGE_DISAGREEMENT = 0.5
"""If two extractions of a page differ at least this much, both are stored and a labeler chooses."""
MAX_NESTING = 2000
"""Deeper trees are not parsed: parsers need recursion or quadratic time for them."""
_VOID = re.compile(
    rb"<(?:area|base|br|col|embed|hr|img|input|link|meta|p|li|td|tr|th|dd|dt|option|source|wbr)\b",
    re.IGNORECASE,
)


def parse_body(task: ParseTask, product: str = "") -> ParsedBody:
    """Parse a body; `product` is the crawler's product token.

    Raises nothing except MemoryError and RecursionError.
    """
    if task.kind in ("sitemap", "feed"):
        return _parse_sitemap_or_feed(task)
    if task.kind == "text":
        source = decode(task.body, task.content_type)
        title = task.url.rsplit("/", 1)[-1][:300]
        return describe(plain_text(source), task, ParsedBody(title=title))
    if _nesting(task.body) > MAX_NESTING:
        return ParsedBody(failure="elements nested too deep")
    source = decode(task.body, task.content_type)
    tree = HTMLTree.parse(source)
    meta = read_meta(task.body, tree, product)
    markup = read_markup(tree, task.url, task.wants_links and not meta.nofollow)
    parsed = ParsedBody(
        title=markup.title,
        canonical=markup.canonical,
        meta_robots=meta.robots,
        meta_reservation=meta.reservation,
        links=markup.links,
        feeds=markup.feeds,
        sitemaps=markup.sitemaps,
    )
    return describe(main_text(source, tree, markup.listing_chars), task, parsed)


def _parse_sitemap_or_feed(task: ParseTask) -> ParsedBody:
    contents = read_sitemap_or_feed(task.body)
    pages = [canonical_url(url, task.url) for url in contents.pages]
    sitemaps = [canonical_url(url, task.url) for url in contents.sitemaps]
    return ParsedBody(
        failure=contents.failure,
        is_sitemap_or_feed=True,
        links=tuple(dict.fromkeys(url for url in pages if url)),
        sitemaps=tuple(dict.fromkeys(url for url in sitemaps if url)),
    )


def _nesting(body: bytes) -> int:
    """An upper bound on the depth of a page's elements.

    A page with few unclosed elements cannot be deep, so most pages need only two counts.
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


def describe(text: Text, task: ParseTask, parsed: ParsedBody) -> ParsedBody:
    """`parsed` with the text, masked, and its language, signals and fingerprints."""
    chosen = text.text[:MAX_TEXT_CHARS]
    masked: dict[str, int] = {}
    if task.mask_personal_data:
        chosen, masked = mask(chosen)
    if not chosen:
        return parsed
    hashes = plain_hashes(chosen)
    language, probability = detect_language(chosen)
    signals = quality_signals(chosen) | {"language_probability": probability}
    if language not in ("en", ""):  # the stop words are English: other languages pass the rule
        signals["num_stop_words"] = float(len(STOP_WORDS))
    difference = disagreement(text.text, text.other) if text.other else 0.0
    other = text.other[:MAX_TEXT_CHARS] if difference >= LARGE_DISAGREEMENT else ""
    return replace(
        parsed,
        text=chosen,
        language=language,
        extractor=text.extractor,
        text_digest=text_digest(chosen),
        other_digest=text_digest(text.other) if text.other else "",
        disagreement=difference,
        other_text=mask(other)[0] if task.mask_personal_data else other,
        masked=masked,
        signals=signals,
        bands=minhash_bands(hashes),
        grams=sampled_grams(hashes),
    )
