"""How long to wait between two requests to one host, and to one address. Pure functions and one
small clock.

The fetch log keeps what each delay was made from, and `audit` recomputes it from that log alone.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from infra.records import Request

MIN_DELAY_S = 1.0
MAX_DELAY_S = 60.0
LATENCY_FACTOR = 5.0
MAX_BACK_OFF_S = 24 * 3600.0
DEFAULT_BACK_OFF_S = 60.0
"""What a 429 or 503 without Retry-After is taken to ask for."""
CLOCK_SLACK_S = 1e-3


def delay_after(configured_s: float, crawl_delay_s: float, latency_s: float, own: bool) -> float:
    """Seconds between the end of a request to a host and the start of the next.

    The largest of what is configured, what robots.txt asks for and five times the last latency,
    within 1 to 60 seconds; on loopback and hosts of the operator's own just what was configured or
    asked for.
    """
    if own:
        return max(configured_s, crawl_delay_s)
    wanted = max(configured_s, crawl_delay_s, LATENCY_FACTOR * latency_s)
    return min(max(wanted, MIN_DELAY_S), MAX_DELAY_S)


def retry_after(status: int, header: str, now: float) -> float:
    """Seconds that a 429 or 503 asks for: Retry-After as seconds or as a date, else a default; 0
    for other statuses.
    """
    if status not in (429, 503):
        return 0.0
    text = header.strip()
    if text.isdigit():
        return min(float(text[:9]), MAX_BACK_OFF_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return DEFAULT_BACK_OFF_S
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - now, 0.0), MAX_BACK_OFF_S)


class AddressClock:
    """When an address may next be asked, whatever names lead to it. One for all workers of a crawl."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._next: dict[str, float] = {}

    def reserve(self, addresses: Sequence[str], earliest: float) -> float:
        """The first moment, not before `earliest`, at which all the addresses are free; it is taken
        by this call.
        """
        start = max([earliest, *(self._next.get(address, 0.0) for address in addresses)])
        for address in addresses:
            self._next[address] = start + self._gap_s
        if len(self._next) > 100_000:
            self._next = {a: t for a, t in self._next.items() if t > earliest}
        return start


@dataclass(frozen=True)
class Violation:
    """Two requests that were too close, or one that came too early, and what should have been."""

    rule: str
    host: str
    first: str
    second: str
    seconds: float
    required_s: float


def audit(log: Iterable[Request], address_gap_s: float = 0.0) -> list[Violation]:
    """Every violation in a fetch log, read from nothing but that log.

    Checked are, by host: no two requests at once, the delay after each request (recomputed from
    what the log says it was made from), Retry-After, and robots.txt within the last day before any
    page; by address that is not loopback: the gap between the starts of two requests.
    """
    by_host: dict[str, list[Request]] = defaultdict(list)
    by_address: dict[str, list[Request]] = defaultdict(list)
    for request in log:
        by_host[request.host].append(request)
        if request.address and not request.own:
            by_address[request.address].append(request)
    found: list[Violation] = []
    for requests in by_host.values():
        found += _audit_host(sorted(requests, key=lambda r: r.started_at))
    for requests in by_address.values():
        ordered = sorted(requests, key=lambda r: r.started_at)
        for first, second in itertools.pairwise(ordered):
            gap = second.started_at - first.started_at
            if gap < address_gap_s - CLOCK_SLACK_S:
                found.append(
                    Violation("address gap", second.host, first.url, second.url, gap, address_gap_s)
                )
    return found


def _audit_host(requests: list[Request]) -> list[Violation]:
    found: list[Violation] = []
    robots_at: dict[str, float] = {}
    for i, request in enumerate(requests):
        origin = "/".join(request.url.split("/")[:3])
        if request.kind == "robots":
            robots_at[origin] = request.ended_at
        elif request.started_at - robots_at.get(origin, float("-inf")) > 24 * 3600:
            found.append(Violation("robots.txt first", request.host, "", request.url, 0.0, 0.0))
        if i == 0:
            continue
        before = requests[i - 1]
        gap = request.started_at - before.ended_at
        latency = before.ended_at - before.started_at
        delay = delay_after(before.configured_delay_s, before.crawl_delay_s, latency, before.own)
        required = max(delay, before.retry_after_s)
        if gap < required - CLOCK_SLACK_S:
            rule = (
                "one at a time"
                if gap < 0
                else "retry-after"
                if before.retry_after_s > delay
                else "delay"
            )
            found.append(Violation(rule, request.host, before.url, request.url, gap, required))
    return found
