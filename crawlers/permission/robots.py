"""robots.txt by RFC 9309, with the AI-preference records `Content-Usage` and `Content-Signal`.

A parsed file answers two questions: may this path be fetched, and what does the site say about
using it. What the RFC leaves open is decided for the site: an agent line of several words is
matched by its words, a version suffix is ignored, and records that are not known never end a group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from infra.store.frontier.records import Robots

MAX_BYTES = 500 * 1024
"""RFC 9309 2.5: a crawler must read at least this much; the rest is ignored."""
MAX_REDIRECTS = 5
FRESH_S = 24 * 3600.0
"""RFC 9309 2.4: a copy should not be used for longer than a day."""
GOOD_COPY_S = 30 * 24 * 3600.0
"""RFC 9309 2.3.1.4: how long a last good copy may stand in for a server that does not answer."""
FORBIDDEN = "forbidden by robots.txt"
UNREADABLE = "robots.txt could not be read"

_LINE = re.compile(r"^\s*([A-Za-z-]+)\s*:\s*(.*?)\s*$")


@dataclass(frozen=True)
class Rule:
    """One allow or disallow line; `pattern` is normalised."""

    pattern: str
    allow: bool
    line: str

    def matches(self, path: str) -> bool:
        """Whether the pattern covers a normalised path."""
        return covers(self.pattern, path)


@dataclass(frozen=True)
class Preference:
    """One `Content-Usage` or `Content-Signal` record: for paths under `prefix`, what a use is told
    (True: yes).
    """

    prefix: str
    uses: tuple[tuple[str, bool], ...]
    line: str


@dataclass
class Group:
    """The records that one or several agent lines are followed by."""

    agents: list[str] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    crawl_delay_s: float = 0.0


def normalise(path: str) -> str:
    """Percent-encoding made uniform: unreserved characters bare, all others encoded in upper case
    (RFC 3986 6.2.2).
    """
    if path.isascii() and "%" not in path and " " not in path:
        return path
    parts = re.split(
        r"(%2[fF]|%2[aA]|%24)", path
    )  # an encoded slash, star or dollar is not the bare one
    return "".join(
        part.upper() if i % 2 else quote(unquote_to_bytes(part), safe="/*$?&=:@!'(),;+~-._#[]")
        for i, part in enumerate(parts)
    )


def covers(pattern: str, path: str) -> bool:
    """Match with `*` for any run of characters and a final `$` for the end, in time linear in
    pattern x path.
    """
    anchored = pattern.endswith("$")
    pieces = (pattern[:-1] if anchored else pattern).split("*")
    if not path.startswith(pieces[0]):
        return False
    position = len(pieces[0])
    for piece in pieces[1:-1]:
        position = path.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    if len(pieces) == 1:
        return not anchored or position == len(path)
    last = pieces[-1]
    if anchored:
        return len(path) - len(last) >= position and path.endswith(last)
    return path.find(last, position) >= 0


def uses_in(words: str) -> tuple[tuple[str, bool], ...]:
    """`train-ai=n, search=y` or `ai-train=no` as ((use, permitted), ...); anything else is left
    out.
    """
    found = re.findall(r"([a-z][a-z-]*)\s*=\s*(yes|no|y|n)\b", words.lower())
    return tuple((use, word.startswith("y")) for use, word in found)


def _preference(words: str, line: str) -> Preference:
    path = words.split(None, 1)[0] if words.startswith("/") else "/"
    rest = words[len(path) :] if words.startswith("/") else words
    return Preference(normalise(path), uses_in(rest), line)


class RobotsFile:
    """A parsed robots.txt, seen by one product token."""

    def __init__(self, groups: list[Group], product: str) -> None:
        token = product.lower()
        named = [g for g in groups if any(_names(agent, token) for agent in g.agents)]
        chosen = named or [g for g in groups if "*" in g.agents]
        self.rules = [rule for group in chosen for rule in group.rules]
        self.preferences = [preference for group in chosen for preference in group.preferences]
        self.crawl_delay_s = max((group.crawl_delay_s for group in chosen), default=0.0)

    def decide(self, path: str) -> Rule | None:
        """The rule that decides a path: the longest that matches, allow before disallow; None where
        none does.
        """
        if path == "/robots.txt":
            return None
        wanted = normalise(path)
        matching = [rule for rule in self.rules if rule.matches(wanted)]
        return max(matching, key=lambda rule: (len(rule.pattern), rule.allow), default=None)

    def allows(self, path: str) -> bool:
        """Whether a path may be fetched."""
        rule = self.decide(path)
        return rule is None or rule.allow

    def preference(self, path: str) -> Preference | None:
        """The AI preference with the longest prefix of a path."""
        wanted = normalise(path)
        covering = [p for p in self.preferences if covers(p.prefix, wanted) and p.uses]
        return max(covering, key=lambda p: len(p.prefix), default=None)


def _names(agent: str, token: str) -> bool:
    """Whether an agent line's value names a product token: whole, with a version, or as one of its
    words.
    """
    return any(word.split("/")[0] == token for word in agent.split())


def parse(body: bytes) -> list[Group]:
    """The groups of a robots.txt, read as UTF-8 up to its limit; lines that are no record are
    skipped.
    """
    text = body[:MAX_BYTES].decode("utf-8", errors="replace").removeprefix("\ufeff")
    groups: list[Group] = []
    group: Group | None = None
    in_agents = False
    for line in re.split(r"\r\n|\r|\n", text):
        found = _LINE.match(line.split("#", 1)[0])
        if found is None:
            continue
        key, value = found.group(1).lower(), found.group(2)
        if key == "user-agent":
            if not in_agents or group is None:
                group = Group()
                groups.append(group)
            group.agents.append(value.lower())
            in_agents = True
        elif group is not None and _add_record(group, key, value, line.strip()[:500]):
            in_agents = False
    return groups


def _add_record(group: Group, key: str, value: str, line: str) -> bool:
    """Put a record into its group; False for one that is not known, which changes nothing at all."""
    if key in ("allow", "disallow"):
        if value:
            group.rules.append(Rule(normalise(value), key == "allow", line))
    elif key == "crawl-delay":
        group.crawl_delay_s = max(group.crawl_delay_s, _seconds(value))
    elif key in ("content-usage", "content-signal"):
        group.preferences.append(_preference(value, line))
    else:
        return False
    return True


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), 86400.0) if seconds == seconds else 0.0


def sitemaps_in(body: bytes) -> list[str]:
    """URLs of the `Sitemap` records, which belong to no group."""
    text = body[:MAX_BYTES].decode("utf-8", errors="replace")
    return re.findall(r"(?im)^\s*sitemap\s*:\s*(\S+)", text)[:50]


Access = Literal["file", "all", "none"]


def access_of(known: Robots, now: float) -> tuple[Access, bytes]:
    """What an origin's last answer means (RFC 9309 2.3.1), with the file to obey.

    4xx except 429 means that everything is allowed. 5xx, 429 and a network failure (status 0) mean
    that nothing is, but for the last good copy while that is not too old.
    """
    if 200 <= known.status < 300:
        return "file", known.body
    if 400 <= known.status < 500 and known.status != 429:
        return "all", b""
    if known.good_at > 0 and now - known.good_at <= GOOD_COPY_S:
        return "file", known.good_body
    return "none", b""
