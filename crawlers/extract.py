"""From a page's bytes to a document's text, title and links. Never touches the network."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import ElementNode, HTMLTree
from resiliparse.parse.lang import detect_fast

from crawlers.urls import canonical_url

EXTRACTOR = "resiliparse-2"
MAX_LINKS = 5000
_CHARSET = re.compile(r"charset=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_SPACES = str.maketrans({"\u00a0": " ", "\u2007": " ", "\u202f": " ", "\u0000": "\ufffd", "\r": None})


@dataclass(frozen=True)
class Extracted:
    """What a page says: title, text with its line structure, language code ("" where unsure), links in order."""

    title: str
    text: str
    language: str
    links: tuple[str, ...]


def decode(body: bytes, content_type: str) -> str:
    """Bytes as text by the declared charset, or by detection where it is missing or wrong; never fails."""
    declared = _CHARSET.search(content_type)
    if declared:
        try:
            return body.decode(declared.group(1))
        except (LookupError, UnicodeDecodeError):
            pass
    return bytes_to_str(body, detect_encoding(body) or "utf-8", errors="replace")


def tidy(text: str) -> str:
    """Text with plain spaces, no trailing blanks, and no run of more than one empty line."""
    lines = [line.rstrip() for line in text.translate(_SPACES).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def extract(body: bytes, content_type: str, url: str) -> Extracted:
    """Text, title and links of an HTML or plain-text page.

    Lines and indentation of code are kept. Pages whose main content resiliparse finds to be under a
    tenth of the whole text are taken whole: on reference pages it mistakes listings for navigation.
    """
    source = decode(body, content_type)
    if content_type.split(";")[0].strip().lower() == "text/plain":
        text = tidy(source)
        return Extracted(url.rsplit("/", 1)[-1], text, _language(text), ())
    tree = HTMLTree.parse(source)
    whole = tidy(extract_plain_text(tree, preserve_formatting=True, main_content=False, list_bullets=False))
    main = tidy(extract_plain_text(tree, preserve_formatting=True, main_content=True, list_bullets=False))
    text = main if 10 * len(main) >= len(whole) else whole
    return Extracted(html.unescape(tree.title or "").strip()[:300], text, _language(text), _links(tree, url))


def _language(text: str) -> str:
    language, distance = detect_fast(text[:20000], cutoff=1200)
    return "" if language == "unknown" or distance >= 1200 else str(language)


def _links(tree: HTMLTree, url: str) -> tuple[str, ...]:
    if tree.body is None:
        return ()
    base = url
    if tree.head is not None and (element := tree.head.query_selector("base[href]")) is not None:
        base = canonical_url(element.getattr("href") or "", url) or url
    found: dict[str, None] = {}
    for anchor in tree.body:  # depth first; a selector's result takes time quadratic in its length to walk
        if not isinstance(anchor, ElementNode) or anchor.tag != "a" or not anchor.hasattr("href"):
            continue
        if "nofollow" in (anchor.getattr("rel") or "").lower():
            continue
        link = canonical_url(anchor.getattr("href") or "", base)
        if link is not None and len(link) <= 2000:
            found[link] = None
        if len(found) >= MAX_LINKS:
            break
    return tuple(found)
