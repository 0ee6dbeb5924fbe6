"""Records that go into the frontier and come out of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import IntEnum

NUM_SHARDS = 256


class State(IntEnum):
    """The state of a URL.

    DONE and FAILED URLs are queued again in a later generation when they are due (FAILED ones at
    most three times).
    """

    PENDING = 0
    LEASED = 1
    DONE = 2
    FAILED = 3
    FORBIDDEN = 4
    FORGOTTEN = 5


@dataclass(frozen=True)
class Limits:
    """The budgets of a generation's crawl, and its rules for leases, revisits and exploration."""

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
    """A URL to add.

    `weight` is the weight of its seed after depth decay; `section` is the first path segment.
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
    """A URL to fetch.

    `visit` is the number of earlier visits. `etag`, `last_modified` and `digest` are those of the
    last visit ("" at the first).
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
    """Leased URLs of one host, and when its next request may start.

    No other worker visits the host during the lease.
    """

    host: str
    domain: str
    not_before: float
    leases: tuple[Lease, ...]


@dataclass(frozen=True)
class Outcome:
    """How a lease ended; the state PENDING asks for another attempt.

    `is_new_text` says whether the text is new for its host.
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
    """The end of a worker's visit to a host, and when the next request to it may start."""

    host: str
    not_before: float
    delay_s: float


@dataclass(frozen=True)
class Robots:
    """The last response to an origin's robots.txt, the last good copy, and its tdmrep.json.

    `good_at` is 0 if there was never a good copy.
    """

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
    """A key of 63 bits: 20 bits of the host's hash, then 43 bits of the URL's hash.

    URLs of one host are stored together. Among ten million URLs of one host about six collide; of
    each such pair only one is fetched.
    """
    host = url.split("/", 3)[2] if url.count("/") >= 2 else ""
    return (_hash(host) >> 44) << 43 | _hash(url) >> 21


def host_shard(domain: str) -> int:
    """The shard of a registrable domain; each shard belongs to one worker."""
    return _hash(domain) % NUM_SHARDS


def revisit_interval(
    first: float, last: float, visits: int, changes: int, least_s: float, most_s: float
) -> float:
    """Seconds until a page is due again: 1 / (its estimated rate of change), within the bounds.

    Estimator of Cho and Garcia-Molina (2003) for visits that only see whether a page has changed:
    rate = -log((n - X + 0.5) / (n + 0.5)) / interval for X changes in n visits after the first.
    Here the denominator is n + 1, so that the interval of an unchanged page grows but stays finite.
    """
    checks = visits - 1
    if checks < 1 or last <= first:
        return least_s
    rate = -math.log((checks - changes + 0.5) / (checks + 1)) / ((last - first) / checks)
    return min(max(1 / rate, least_s), most_s)
