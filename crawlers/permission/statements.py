"""What a site states about the use of a page: allow, deny or unknown for each purpose.

Sources are robots.txt (`Content-Usage` of the IETF aipref drafts, `Content-Signal`), the headers of
the same names, X-Robots-Tag, meta robots, and the TDM Reservation Protocol (header, meta element
and well-known file). If statements differ, deny wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crawlers.permission.robots import RobotsFile, covers, normalise, parse_uses
from crawlers.urls import url_path

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
"""Names of uses, and the purposes that they cover. A statement about AI training also covers
evaluation of a model; a statement about search covers neither."""
_DIRECTIVES: dict[str, tuple[str, ...]] = {
    "noindex": PURPOSES,
    "none": PURPOSES,
    "noai": PURPOSES,
    "noarchive": PURPOSES,
    "noml": PURPOSES,
}
"""Robots directives that deny. `noindex` and `noarchive` count because a corpus is a stored copy.
"""
_HINTS = (b"robots", b"tdm-reservation")


@dataclass(frozen=True)
class Statement:
    """Allow or deny for one purpose, with the rule that says so and the text it was read from."""

    purpose: str
    verdict: Verdict
    reason: str
    evidence: str


@dataclass(frozen=True)
class PageMeta:
    """The elements of a page's markup that concern robots and text mining."""

    robots: tuple[str, ...] = ()
    reservation: str = ""

    @property
    def nofollow(self) -> bool:
        """Whether the page asks not to follow its links."""
        return bool({"nofollow", "none"} & _directives(",".join(self.robots)))


def may_hold_statements(body: bytes, product: str) -> bool:
    """Whether a page may have statements about its use; a cheap search without parsing."""
    lowered = body.lower()
    return any(hint in lowered for hint in (*_HINTS, product.lower().encode()) if hint)


def read_meta(body: bytes, tree: HTMLTree, product: str) -> PageMeta:
    """The meta elements for robots, for our product token, and for TDM reservation."""
    if not may_hold_statements(body, product) or tree.document is None:
        return PageMeta()
    robots: list[str] = []
    reservation = ""
    for element in tree.document.query_selector_all("meta[name][content]"):
        name = (element.getattr("name") or "").strip().lower()
        content = element.getattr("content") or ""
        if name in ("robots", product.lower()):
            robots.append(content[:MAX_EVIDENCE])
        elif name == "tdm-reservation":
            reservation = content.strip()[:20]
    return PageMeta(tuple(robots), reservation)


def _directives(text: str) -> set[str]:
    return {word.strip().lower() for word in re.split(r"[,;]", text)}


def _from_uses(uses: Iterable[tuple[str, bool]], source: str, evidence: str) -> list[Statement]:
    return [
        Statement(
            purpose, "allow" if permitted else "deny", f"{source} {use}", evidence[:MAX_EVIDENCE]
        )
        for use, permitted in uses
        for purpose in _USES.get(use, ())
    ]


def _from_directives(text: str, source: str) -> list[Statement]:
    return [
        Statement(purpose, "deny", f"{source} {directive}", text[:MAX_EVIDENCE])
        for directive in sorted(_directives(text) & set(_DIRECTIVES))
        for purpose in _DIRECTIVES[directive]
    ]


def _from_reservation(value: str, source: str) -> list[Statement]:
    """TDM Reservation Protocol: 1 reserves the rights of text and data mining, 0 does not."""
    if value.strip() not in ("0", "1"):
        return []
    verdict: Verdict = "deny" if value.strip() == "1" else "allow"
    return [
        Statement(purpose, verdict, f"{source} tdm-reservation", value.strip())
        for purpose in PURPOSES
    ]


def _x_robots(values: Iterable[str], product: str) -> list[Statement]:
    """Statements of X-Robots-Tag; a value `agent: directives` counts only for that agent."""
    statements: list[Statement] = []
    for value in values:
        agent, colon, rest = value.partition(":")
        scoped = (
            bool(colon)
            and re.fullmatch(r"\s*[\w-]+\s*", agent)
            and agent.strip().lower() != "unavailable_after"
        )
        if scoped and agent.strip().lower() != product.lower():
            continue
        statements += _from_directives(rest if scoped else value, "X-Robots-Tag")
    return statements


def _well_known(reservation: bytes, url: str) -> list[Statement]:
    """Statements of the first rule in /.well-known/tdmrep.json whose location matches the URL."""
    if not reservation:
        return []
    try:
        rules: Any = json.loads(reservation)
    except (ValueError, RecursionError):
        return []
    path = normalise(url_path(url))
    for rule in rules if isinstance(rules, list) else []:
        location = rule.get("location") if isinstance(rule, dict) else None
        if isinstance(location, str) and covers(normalise(location), path):
            return _from_reservation(str(rule.get("tdm-reservation", "")), "tdmrep.json")
    return []


def statements_about(
    url: str,
    robots: RobotsFile,
    reservation: bytes,
    headers: Mapping[str, list[str]],
    meta: PageMeta,
    product: str,
) -> list[Statement]:
    """All statements about the use of a page.

    `reservation` is the site's tdmrep.json; names in `headers` are lower case.
    """
    statements: list[Statement] = []
    preference = robots.preference(url_path(url))
    if preference is not None:
        statements += _from_uses(preference.uses, "robots.txt", preference.line)
    for name in ("content-usage", "content-signal"):
        for value in headers.get(name, []):
            statements += _from_uses(parse_uses(value), f"{name} header", value)
    statements += _x_robots(headers.get("x-robots-tag", []), product)
    for value in headers.get("tdm-reservation", []):
        statements += _from_reservation(value, "header")
    for value in meta.robots:
        statements += _from_directives(value, "meta robots")
    statements += _from_reservation(meta.reservation, "meta")
    # The TDM protocol: a page's own reservation overrides the site's file.
    has_own = any("tdm-reservation" in statement.reason for statement in statements)
    return statements if has_own else statements + _well_known(reservation, url)


def unreadable_statements(body: bytes, product: str) -> list[Statement]:
    """Statements assumed of a page that cannot be parsed: deny if it may contain a denial."""
    if not may_hold_statements(body, product):
        return []
    return [
        Statement(purpose, "deny", "unreadable markup that may say no", "") for purpose in PURPOSES
    ]


def deciding_statement(purpose: str, statements: Iterable[Statement]) -> Statement:
    """The first statement that denies a purpose, else the first that allows it, else unknown."""
    relevant = [statement for statement in statements if statement.purpose == purpose]
    for verdict in ("deny", "allow"):
        for statement in relevant:
            if statement.verdict == verdict:
                return statement
    return Statement(purpose, "unknown", "nothing was said", "")


def may_use(verdict: str, unknown_is_allowed: bool) -> bool:
    """Whether a page with this verdict may be used under the operator's policy."""
    return verdict == "allow" or (verdict == "unknown" and unknown_is_allowed)
