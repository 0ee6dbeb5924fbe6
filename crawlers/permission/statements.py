"""What a site says about the use of a page, per purpose: allow, deny or unknown, and where it says
so.

Read are robots.txt (`Content-Usage` of the IETF aipref drafts, `Content-Signal`), the headers of
the same names, X-Robots-Tag, meta robots, and the TDM Reservation Protocol's header, meta element
and well-known file. Deny wins over allow wherever they meet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crawlers.permission.robots import RobotsFile, covers, normalise, uses_in
from crawlers.urls import path_of

if TYPE_CHECKING:
    from resiliparse.parse.html import HTMLTree

Verdict = Literal["allow", "deny", "unknown"]
PURPOSES = ("train", "evaluate")
MAX_EVIDENCE = 300

_USES: dict[str, tuple[str, ...]] = {
    "train-ai": PURPOSES,
    "train-genai": PURPOSES,
    "ai-train": PURPOSES,
    "bots": PURPOSES,
    "tdm": PURPOSES,
}
"""AI-preference words and the purposes they speak of. Reading a page to measure a model is a use of
the same kind as training one; what speaks of search alone says nothing about either."""
_DIRECTIVES: dict[str, tuple[str, ...]] = {
    "noindex": PURPOSES,
    "none": PURPOSES,
    "noai": PURPOSES,
    "noarchive": PURPOSES,
    "noml": PURPOSES,
}
"""Robots directives that deny. `noindex` and `noarchive` forbid keeping a copy, which a corpus is.
"""
_SCENTS = (b"robots", b"tdm-reservation")


@dataclass(frozen=True)
class Word:
    """One statement: a purpose, a verdict, the rule it follows from, and the bytes it was read
    from.
    """

    purpose: str
    verdict: Verdict
    reason: str
    evidence: str


@dataclass(frozen=True)
class PageMeta:
    """What a page's own markup says about robots and text mining."""

    robots: tuple[str, ...] = ()
    reservation: str = ""

    @property
    def nofollow(self) -> bool:
        """Whether the page's links are not to be followed."""
        return bool({"nofollow", "none"} & _directives(",".join(self.robots)))


def may_speak(body: bytes, product: str) -> bool:
    """Whether a page may have something to say about its use: a search for words, without reading
    its markup.
    """
    lowered = body.lower()
    return any(scent in lowered for scent in (*_SCENTS, product.lower().encode()) if scent)


def read_meta(body: bytes, tree: HTMLTree, product: str) -> PageMeta:
    """Meta robots (also by our product token) and the TDM reservation; cheap where the page has
    neither.
    """
    if not may_speak(body, product):
        return PageMeta()
    robots: list[str] = []
    reservation = ""
    document = tree.document
    for element in (
        document.query_selector_all("meta[name][content]") if document is not None else ()
    ):
        name, content = (
            (element.getattr("name") or "").strip().lower(),
            element.getattr("content") or "",
        )
        if name in ("robots", product.lower()):
            robots.append(content[:MAX_EVIDENCE])
        elif name == "tdm-reservation":
            reservation = content.strip()[:20]
    return PageMeta(tuple(robots), reservation)


def _directives(text: str) -> set[str]:
    return {word.strip().lower() for word in re.split(r"[,;]", text)}


def _from_uses(uses: Iterable[tuple[str, bool]], source: str, evidence: str) -> list[Word]:
    return [
        Word(purpose, "allow" if permitted else "deny", f"{source} {use}", evidence[:MAX_EVIDENCE])
        for use, permitted in uses
        for purpose in _USES.get(use, ())
    ]


def _from_directives(text: str, source: str) -> list[Word]:
    return [
        Word(purpose, "deny", f"{source} {directive}", text[:MAX_EVIDENCE])
        for directive in sorted(_directives(text) & set(_DIRECTIVES))
        for purpose in _DIRECTIVES[directive]
    ]


def _from_reservation(value: str, source: str) -> list[Word]:
    """TDM Reservation Protocol: 1 reserves the rights of text and data mining, 0 does not."""
    if value.strip() not in ("0", "1"):
        return []
    verdict: Verdict = "deny" if value.strip() == "1" else "allow"
    return [
        Word(purpose, verdict, f"{source} tdm-reservation", value.strip()) for purpose in PURPOSES
    ]


def _x_robots(values: Iterable[str], product: str) -> list[Word]:
    """X-Robots-Tag, each value for every crawler or, behind an agent's name and a colon, for that
    one.
    """
    words: list[Word] = []
    for value in values:
        agent, colon, rest = value.partition(":")
        scoped = (
            bool(colon)
            and re.fullmatch(r"\s*[\w-]+\s*", agent)
            and agent.strip().lower() != "unavailable_after"
        )
        if scoped and agent.strip().lower() != product.lower():
            continue
        words += _from_directives(rest if scoped else value, "X-Robots-Tag")
    return words


def _well_known(reservation: bytes, url: str) -> list[Word]:
    """The rule of /.well-known/tdmrep.json whose location covers the URL's path."""
    if not reservation:
        return []
    try:
        rules: Any = json.loads(reservation)
    except (ValueError, RecursionError):
        return []
    path = normalise(path_of(url))
    for rule in rules if isinstance(rules, list) else []:
        location = rule.get("location") if isinstance(rule, dict) else None
        if isinstance(location, str) and covers(normalise(location), path):
            return _from_reservation(str(rule.get("tdm-reservation", "")), "tdmrep.json")
    return []


def words_about(
    url: str,
    robots: RobotsFile,
    reservation: bytes,
    headers: Mapping[str, list[str]],
    meta: PageMeta,
    product: str,
) -> list[Word]:
    """Everything that was said about a page. `headers` has lower-case names."""
    words: list[Word] = []
    preference = robots.preference(path_of(url))
    if preference is not None:
        words += _from_uses(preference.uses, "robots.txt", preference.line)
    for name in ("content-usage", "content-signal"):
        for value in headers.get(name, []):
            words += _from_uses(uses_in(value), f"{name} header", value)
    words += _x_robots(headers.get("x-robots-tag", []), product)
    for value in headers.get("tdm-reservation", []):
        words += _from_reservation(value, "header")
    for value in meta.robots:
        words += _from_directives(value, "meta robots")
    words += _from_reservation(meta.reservation, "meta")
    own_word = any(
        "tdm-reservation" in word.reason for word in words
    )  # the protocol: a page's own word comes first
    return words if own_word else words + _well_known(reservation, url)


def unread_words(body: bytes, product: str) -> list[Word]:
    """What to assume of a page whose markup could not be read: no, where it may have said so."""
    if not may_speak(body, product):
        return []
    return [Word(purpose, "deny", "unreadable markup that may say no", "") for purpose in PURPOSES]


def verdict_for(purpose: str, words: Iterable[Word]) -> Word:
    """The verdict for one purpose: deny wins, then allow, else unknown."""
    about = [word for word in words if word.purpose == purpose]
    for wanted in ("deny", "allow"):
        for word in about:
            if word.verdict == wanted:
                return word
    return Word(purpose, "unknown", "nothing was said", "")


def may_use(verdict: str, unknown_is_allowed: bool) -> bool:
    """What the operator's policy makes of a verdict."""
    return verdict == "allow" or (verdict == "unknown" and unknown_is_allowed)
