"""What each origin allows: fetches robots.txt and tdmrep.json, and remembers the parsed rules."""

from __future__ import annotations

from dataclasses import dataclass

from crawlers.config import CrawlConfig
from crawlers.fetching.transport import Clock, Response
from crawlers.keeping.page_rows import PageRowsBuilder
from crawlers.permission.robots import (
    FRESH_S,
    MAX_REDIRECTS,
    MAX_ROBOTS_BYTES,
    RobotsFile,
    parse_robots,
    robots_access,
)
from crawlers.session.outbox import Outbox, Queue
from crawlers.session.requester import HostClock, Requester
from crawlers.urls import canonical_url, registrable_domain, url_host, url_origin
from infra.store.frontier.records import HostLease, HostVisit, Robots

IDLE_S = 0.25
"""Pause before something that is not available is tried again, in seconds."""
BORROW_TRIES = 40
UNREADABLE_KEPT_S = 600.0
MAX_ORIGINS = 100_000
"""Origins remembered in memory."""


@dataclass(frozen=True)
class OriginRules:
    """What an origin allows; `file` is None if nothing may be fetched."""

    file: RobotsFile | None
    reservation: bytes
    until: float


def _kept_s(robots: Robots) -> float:
    """Seconds that a fetched robots.txt is used: a day, or ten minutes if the server failed."""
    failed = robots.status in (0, 429) or robots.status >= 500
    return UNREADABLE_KEPT_S if failed else FRESH_S


def _is_redirect(response: Response) -> bool:
    return 300 <= response.status < 400


class OriginRulesReader:
    """Reads the rules of origins from memory, from the store, or from the network."""

    def __init__(
        self,
        config: CrawlConfig,
        queue: Queue,
        builder: PageRowsBuilder,
        clock: Clock,
        requester: Requester,
        outbox: Outbox,
    ) -> None:
        self._config = config
        self._queue = queue
        self._builder = builder
        self._clock = clock
        self._requester = requester
        self._outbox = outbox
        self._rules: dict[str, OriginRules] = {}

    async def rules(self, url: str, host: HostLease, host_clock: HostClock) -> OriginRules:
        """The rules of a URL's origin; fetched if there is no fresh copy."""
        origin = url_origin(url)
        rules = self._rules.get(origin)
        if rules is not None and self._clock.time() <= rules.until:
            return rules
        robots = await self._outbox.call(self._queue.robots, origin)
        if robots is None or self._clock.time() > robots.fetched_at + _kept_s(robots):
            robots = await self.fetch(origin, robots, host, host_clock)
            self._outbox.rows.robots.append(robots)
        access, body = robots_access(robots, self._clock.time())
        file = None if access == "none" else RobotsFile(parse_robots(body), self._config.product)
        if access == "file" and self._config.sitemaps:
            self._outbox.rows.links.extend(self._builder.sitemap_links(body, origin))
        if len(self._rules) > MAX_ORIGINS:
            self._rules.clear()
        until = robots.fetched_at + _kept_s(robots)
        self._rules[origin] = OriginRules(file, robots.reservation, until)
        return self._rules[origin]

    async def fetch(
        self, origin: str, old: Robots | None, host: HostLease, host_clock: HostClock
    ) -> Robots:
        """Fetch robots.txt and tdmrep.json of an origin.

        A response other than 2xx keeps the last good copy of `old`.
        """
        url = f"{origin}/robots.txt"
        response = await self._fetch_robots(url, host, host_clock)
        is_good = 200 <= response.status < 300
        if is_good:
            file = RobotsFile(parse_robots(response.body), self._config.product)
            host_clock.crawl_delay_s = file.crawl_delay_s
        reservation = b""
        if response.status and response.status < 500 and response.status != 429:
            reservation = await self._fetch_reservation(origin, host, host_clock)
        at = self._clock.time()
        if is_good:
            page, record = self._builder.build_robots_page(url, "robots", host, response, at)
            self._outbox.rows.pages.append(page)
            self._outbox.rows.records.append(record)
            body = response.body[:MAX_ROBOTS_BYTES]
            return Robots(origin, at, response.status, body, at, body, reservation)
        return Robots(
            origin=origin,
            fetched_at=at,
            status=response.status,
            body=b"",
            good_at=old.good_at if old else 0.0,
            good_body=old.good_body if old else b"",
            reservation=reservation or (old.reservation if old else b""),
        )

    async def _fetch_reservation(
        self, origin: str, host: HostLease, host_clock: HostClock
    ) -> bytes:
        """The body of /.well-known/tdmrep.json, b"" if there is none."""
        url = f"{origin}/.well-known/tdmrep.json"
        response = await self._requester.send(url, "tdmrep", host.host, host.domain, host_clock, {})
        return response.body[:MAX_ROBOTS_BYTES] if response.status == 200 else b""

    async def _fetch_robots(self, url: str, host: HostLease, host_clock: HostClock) -> Response:
        """Fetch robots.txt over at most five redirects, also to other hosts.

        More redirects, or one without a usable target, count as 404 (no robots.txt).
        """
        for _ in range(MAX_REDIRECTS + 1):
            if url_host(url) == host.host:
                response = await self._requester.send(
                    url, "robots", host.host, host.domain, host_clock, {}
                )
            else:
                response = await self._fetch_elsewhere(url)
            if not _is_redirect(response):
                return response
            target = canonical_url(response.header("location"), url)
            if target is None:
                return Response(404, address=response.address)
            url = target
        return Response(404)

    async def _fetch_elsewhere(self, url: str) -> Response:
        """Send one request to a host that this visit did not lease: it is borrowed for it."""
        host, domain = url_host(url), registrable_domain(url_host(url))
        for _ in range(BORROW_TRIES):
            not_before = await self._outbox.call(self._queue.borrow_host, host, domain)
            if not_before is not None:
                host_clock = HostClock(not_before)
                response = await self._requester.send(url, "robots", host, domain, host_clock, {})
                visit = HostVisit(host, host_clock.next_at, host_clock.delay_s)
                self._outbox.rows.visits.append(visit)
                return response
            await self._outbox.flush()
            await self._clock.sleep_until(self._clock.time() + IDLE_S)
        return Response(0, failure="the host that robots.txt moved to was busy")
