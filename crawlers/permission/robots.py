"""Parses robots.txt (RFC 9309), with the AI-usage records `Content-Usage` and `Content-Signal`.

A parsed file says whether a path may be fetched and what the site states about using it. Where the
RFC leaves a choice, the stricter reading is used: a user-agent line of several words matches by any
of its words, a version suffix is ignored, and unknown records do not end a group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from infra.store.frontier.records import Robots

MAX_ROBOTS_BYTES = 500 * 1024
"""RFC 9309 2.5: a crawler must parse at least this much; the rest is ignored."""
MAX_REDIRECTS = 5
FRESH_S = 24 * 3600.0
"""RFC 9309 2.4: a copy should not be used for longer than a day."""
GOOD_COPY_S = 30 * 24 * 3600.0
"""RFC 9309 2.3.1.4: how long the last good copy is used while the server does not answer."""
FORBIDDEN = "forbidden by robots.txt"
UNREADABLE = "robots.txt could not be read"

_LINE = re.compile(r"^\s*([A-Za-z-]+)\s*:\s*(.*?)\s*$")


@dataclass(frozen=True)
class RobotsRule:
    """An allow or disallow line; `pattern` is normalised."""

    pattern: str
    allow: bool
    line: str

    def matches(self, path: str) -> bool:
        """Whether the pattern matches a normalised path."""
        return covers(self.pattern, path)


@dataclass(frozen=True)
class UsagePreference:
    """A `Content-Usage` or `Content-Signal` record: (use, permitted) for paths under `prefix`."""

    prefix: str
    uses: tuple[tuple[str, bool], ...]
    line: str


@dataclass
class RobotsGroup:
    """The records that follow one or more user-agent lines."""

    agents: list[str] = field(default_factory=list)
    rules: list[RobotsRule] = field(default_factory=list)
    preferences: list[UsagePreference] = field(default_factory=list)
    crawl_delay_s: float = 0.0


def normalise(path: str) -> str:
    """A path with uniform percent-encoding (RFC 3986 6.2.2).

    Unreserved characters are decoded, all others encoded in upper case.
    """
    if path.isascii() and "%" not in path and " " not in path:
        return path
    # An encoded slash, star or dollar differs from the character itself, so it stays encoded.
    parts = re.split(r"(%2[fF]|%2[aA]|%24)", path)
    return "".join(
        part.upper() if i % 2 else quote(unquote_to_bytes(part), safe="/*$?&=:@!'(),;+~-._#[]")
        for i, part in enumerate(parts)
    )


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path: `*` is any run of characters, a final `$` the end.

    Takes time of at most len(pattern) x len(path).
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


def parse_uses(value: str) -> tuple[tuple[str, bool], ...]:
    """The (use, permitted) pairs of a value such as `train-ai=n, search=y` or `ai-train=no`.

    Anything else in the value is ignored.
    """
    pairs = re.findall(r"([a-z][a-z-]*)\s*=\s*(yes|no|y|n)\b", value.lower())
    return tuple((use, answer.startswith("y")) for use, answer in pairs)


def _usage_preference(value: str, line: str) -> UsagePreference:
    path = value.split(None, 1)[0] if value.startswith("/") else "/"
    rest = value[len(path) :] if value.startswith("/") else value
    return UsagePreference(normalise(path), parse_uses(rest), line)


class RobotsFile:
    """The rules of a robots.txt for one product token."""

    def __init__(self, groups: list[RobotsGroup], product: str) -> None:
        token = product.lower()
        named = [g for g in groups if any(_names(agent, token) for agent in g.agents)]
        chosen = named or [g for g in groups if "*" in g.agents]
        self.rules = [rule for group in chosen for rule in group.rules]
        self.preferences = [preference for group in chosen for preference in group.preferences]
        self.crawl_delay_s = max((group.crawl_delay_s for group in chosen), default=0.0)

    def decide(self, path: str) -> RobotsRule | None:
        """The rule that decides a path; None if no rule matches.

        It is the longest that matches; of two with equal length, allow wins.
        """
        if path == "/robots.txt":
            return None
        normalised = normalise(path)
        matching = [rule for rule in self.rules if rule.matches(normalised)]
        return max(matching, key=lambda rule: (len(rule.pattern), rule.allow), default=None)

    def allows(self, path: str) -> bool:
        """Whether a path may be fetched."""
        rule = self.decide(path)
        return rule is None or rule.allow

    def preference(self, path: str) -> UsagePreference | None:
        """The usage preference with the longest prefix that matches a path."""
        normalised = normalise(path)
        covering = [p for p in self.preferences if covers(p.prefix, normalised) and p.uses]
        return max(covering, key=lambda p: len(p.prefix), default=None)


def _names(agent: str, token: str) -> bool:
    """Whether a word of a user-agent line is the product token, with or without a version."""
    return any(word.split("/")[0] == token for word in agent.split())


def parse_robots(body: bytes) -> list[RobotsGroup]:
    """The groups of a robots.txt, read as UTF-8 up to `MAX_ROBOTS_BYTES`.

    Lines that are not a record are skipped.
    """
    text = body[:MAX_ROBOTS_BYTES].decode("utf-8", errors="replace").removeprefix("\ufeff")
    groups: list[RobotsGroup] = []
    group: RobotsGroup | None = None
    in_agents = False
    for line in re.split(r"\r\n|\r|\n", text):
        record = _LINE.match(line.split("#", 1)[0])
        if record is None:
            continue
        key, value = record.group(1).lower(), record.group(2)
        if key == "user-agent":
            if not in_agents or group is None:
                group = RobotsGroup()
                groups.append(group)
            group.agents.append(value.lower())
            in_agents = True
        elif group is not None and _add_record(group, key, value, line.strip()[:500]):
            in_agents = False
    return groups


def _add_record(group: RobotsGroup, key: str, value: str, line: str) -> bool:
    """Add a record to its group; False for an unknown record, which is ignored."""
    if key in ("allow", "disallow"):
        if value:
            group.rules.append(RobotsRule(normalise(value), key == "allow", line))
    elif key == "crawl-delay":
        group.crawl_delay_s = max(group.crawl_delay_s, _seconds(value))
    elif key in ("content-usage", "content-signal"):
        group.preferences.append(_usage_preference(value, line))
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
    """The URLs of the `Sitemap` records of a robots.txt, at most 50."""
    text = body[:MAX_ROBOTS_BYTES].decode("utf-8", errors="replace")
    return re.findall(r"(?im)^\s*sitemap\s*:\s*(\S+)", text)[:50]


Access = Literal["file", "all", "none"]


def robots_access(robots: Robots, now: float) -> tuple[Access, bytes]:
    """(access, robots.txt to obey) from an origin's last response (RFC 9309 2.3.1).

    2xx: obey the file. 4xx except 429: everything is allowed. 5xx, 429 and network failure (status
    0): obey the last good copy if it is not too old, else nothing is allowed.
    """
    if 200 <= robots.status < 300:
        return "file", robots.body
    if 400 <= robots.status < 500 and robots.status != 429:
        return "all", b""
    if robots.good_at > 0 and now - robots.good_at <= GOOD_COPY_S:
        return "file", robots.good_body
    return "none", b""
