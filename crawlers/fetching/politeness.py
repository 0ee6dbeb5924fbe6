"""Delays between requests to one host and to one IP address, and an audit of the fetch log.

The fetch log stores the values from which each delay was computed, so `audit` needs only the log.
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
"""Wait in seconds after a 429 or 503 without Retry-After."""
CLOCK_SLACK_S = 1e-3


def delay_after(configured_s: float, crawl_delay_s: float, latency_s: float, own: bool) -> float:
    """Seconds from the end of a request to a host until the start of the next.

    The largest of the configured delay, the Crawl-delay of robots.txt and five times the last
    latency, limited to 1 to 60 seconds. On loopback and the operator's own hosts (`own`) the
    latency and the limits do not count.
    """
    if own:
        return max(configured_s, crawl_delay_s)
    delay_s = max(configured_s, crawl_delay_s, LATENCY_FACTOR * latency_s)
    return min(max(delay_s, MIN_DELAY_S), MAX_DELAY_S)


def retry_after(status: int, header: str, now: float) -> float:
    """Seconds to wait after a 429 or 503; 0 for other statuses.

    `header` is the value of Retry-After, in seconds or as a date; if it is neither, a default
    applies.
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
    """Spaces out requests to one IP address, also under different host names.

    All workers of a crawl share one.
    """

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._next: dict[str, float] = {}

    def reserve(self, addresses: Sequence[str], earliest: float) -> float:
        """Reserve the first moment from `earliest` on at which all the addresses are free."""
        start = max([earliest, *(self._next.get(address, 0.0) for address in addresses)])
        for address in addresses:
            self._next[address] = start + self._gap_s
        if len(self._next) > 100_000:
            self._next = {a: t for a, t in self._next.items() if t > earliest}
        return start


@dataclass(frozen=True)
class Violation:
    """Two requests that were too close, or a page fetched without a fresh robots.txt.

    `seconds` is the gap that was found, `required_s` the gap that was required.
    """

    rule: str
    host: str
    first: str
    second: str
    seconds: float
    required_s: float


def audit_requests(log: Iterable[Request], address_gap_s: float = 0.0) -> list[Violation]:
    """All violations in a fetch log.

    Checked for each host: one request at a time, the delay after each request, Retry-After, and a
    robots.txt fetched at most a day before each page. Checked for each IP address of foreign hosts:
    the gap between the starts of two requests.
    """
    by_host: dict[str, list[Request]] = defaultdict(list)
    by_address: dict[str, list[Request]] = defaultdict(list)
    for request in log:
        by_host[request.host].append(request)
        if request.address and not request.own:
            by_address[request.address].append(request)
    violations: list[Violation] = []
    for requests in by_host.values():
        violations += _audit_host(sorted(requests, key=lambda r: r.started_at))
    for requests in by_address.values():
        ordered = sorted(requests, key=lambda r: r.started_at)
        for first, second in itertools.pairwise(ordered):
            gap = second.started_at - first.started_at
            if gap < address_gap_s - CLOCK_SLACK_S:
                violations.append(
                    Violation("address gap", second.host, first.url, second.url, gap, address_gap_s)
                )
    return violations


def _audit_host(requests: list[Request]) -> list[Violation]:
    """Violations among the requests to one host, which are in the order of their starts."""
    violations: list[Violation] = []
    robots_at: dict[str, float] = {}
    for i, request in enumerate(requests):
        origin = "/".join(request.url.split("/")[:3])
        if request.kind == "robots":
            robots_at[origin] = request.ended_at
        elif request.started_at - robots_at.get(origin, float("-inf")) > 24 * 3600:
            violations.append(
                Violation("robots.txt first", request.host, "", request.url, 0.0, 0.0)
            )
        if i > 0 and (violation := _audit_gap(requests[i - 1], request)) is not None:
            violations.append(violation)
    return violations


def _audit_gap(before: Request, request: Request) -> Violation | None:
    """The violation if a request to a host came too soon after the one before."""
    gap = request.started_at - before.ended_at
    latency = before.ended_at - before.started_at
    delay = delay_after(before.configured_delay_s, before.crawl_delay_s, latency, before.own)
    required = max(delay, before.retry_after_s)
    if gap >= required - CLOCK_SLACK_S:
        return None
    rule = "retry-after" if before.retry_after_s > delay else "delay"
    if gap < 0:
        rule = "one at a time"
    return Violation(rule, request.host, before.url, request.url, gap, required)
