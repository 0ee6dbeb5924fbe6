"""What goes into the frontier and what comes out of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import IntEnum

NUM_SHARDS = 256


class State(IntEnum):
    """Where a URL stands. DONE and FAILED come back in a later generation when they are due (FAILED
    three times).
    """

    PENDING = 0
    LEASED = 1
    DONE = 2
    FAILED = 3
    FORBIDDEN = 4
    FORGOTTEN = 5


@dataclass(frozen=True)
class Limits:
    """What a generation's crawl may spend, and the rules of leases, revisits and exploration."""

    pages: int
    num_bytes: int
    seconds: float
    host_pages: int
    host_bytes: int
    domain_pages: int
    domain_bytes: int
    lease_s: float
    max_attempts: int
    explore_share: float
    revisit_min_s: float
    revisit_max_s: float
    trap_pages: int
    trap_yield: float
    patience_s: float


@dataclass(frozen=True)
class Link:
    """A URL to add. `weight` is the seed's weight after depth decay; `section` is host and first
    path segment.
    """

    url: str
    host: str
    domain: str
    section: str
    kind: str
    depth: int
    weight: float


@dataclass(frozen=True)
class Lease:
    """A URL to fetch; `visit` counts its visits before this one, the rest is what the last one left
    ("" at first).
    """

    url: str
    kind: str
    depth: int
    weight: float
    visit: int
    etag: str
    last_modified: str
    digest: str


@dataclass(frozen=True)
class HostLease:
    """Some URLs of one host, which no one else visits meanwhile, and when its next request may
    start.
    """

    host: str
    domain: str
    not_before: float
    leases: tuple[Lease, ...]


@dataclass(frozen=True)
class Outcome:
    """How a lease ended; state PENDING asks for another try.

    `is_new_text` says whether the visit brought a text that its host had not had.
    """

    url: str
    state: State
    reason: str
    etag: str
    last_modified: str
    digest: str
    num_bytes: int
    is_new_text: bool


@dataclass(frozen=True)
class HostVisit:
    """The end of a worker's visit to a host: its leases are over, and its clock."""

    host: str
    not_before: float
    delay_s: float


@dataclass(frozen=True)
class Robots:
    """What an origin last said about robots, when, and its last good word (None: never)."""

    origin: str
    fetched_at: float
    status: int
    body: bytes
    good_at: float
    good_body: bytes
    reservation: bytes


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def url_key(url: str) -> int:
    """63 bits: 20 of a hash of the host, so that a host's URLs lie together in the file, and 43 of
    the URL's.

    Among ten million URLs of one host some six collide, of which one each is never fetched.
    """
    host = url.split("/", 3)[2] if url.count("/") >= 2 else ""
    return (_hash(host) >> 44) << 43 | _hash(url) >> 21


def host_shard(domain: str) -> int:
    """The shard of a registrable domain; a worker owns whole shards."""
    return _hash(domain) % NUM_SHARDS


def revisit_interval(
    first: float, last: float, visits: int, changes: int, least_s: float, most_s: float
) -> float:
    """Seconds until a page is due again: one over its estimated rate of change, between the two
    bounds.

    The estimator is Cho and Garcia-Molina's (2003) for visits that see only whether a page has
    changed, rate = -log((n - X + 0.5) / (n + 0.5)) / interval for X changes in n visits after the
    first, with half a change added, so that a page which has not changed yet is left alone ever
    longer instead of for good.
    """
    checks = visits - 1
    if checks < 1 or last <= first:
        return least_s
    rate = -math.log((checks - changes + 0.5) / (checks + 1)) / ((last - first) / checks)
    return min(max(1 / rate, least_s), most_s)
