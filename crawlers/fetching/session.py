"""One worker's crawl of one generation: lease hosts, visit each politely, hand results on, until
all is done.

Nothing here knows Ray, Scrapy, sockets or the wall clock: transport, resolver, clock and the
address clock come from outside, so that a test can run a crawl of days in a second and get the same
log every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import is_loopback
from crawlers.fetching.politeness import delay_after, retry_after
from crawlers.fetching.transport import Answer, Clock, Resolver, Transport
from crawlers.keeping.page_rows import Intake
from crawlers.permission.robots import (
    FORBIDDEN,
    FRESH_S,
    MAX_BYTES,
    MAX_REDIRECTS,
    UNREADABLE,
    RobotsFile,
    access_of,
    parse,
)
from crawlers.urls import (
    canonical_url,
    host_of,
    hostname_of,
    origin_of,
    path_of,
    registrable_domain,
)
from infra.records import Request, content_key
from infra.store.frontier.records import HostLease, HostVisit, Lease, Limits, Outcome, Robots, State
from infra.store.tables.crawl import CrawlRows

FLUSH_ROWS = 256
FLUSH_S = 3.0
IDLE_S = 0.25
BORROW_TRIES = 40
UNREADABLE_KEPT_S = 600.0
Result = TypeVar("Result")


class Queue(Protocol):
    """The part of `store.crawl` that a session needs."""

    def lease_hosts(
        self, worker: int, generation: int, num_hosts: int, per_host: int, limits: Limits
    ) -> list[HostLease]:
        """See `infra.store.Store`."""
        ...

    def is_finished(self, generation: int, limits: Limits) -> bool:
        """See `infra.store.Store`."""
        ...

    def deadline(self, generation: int, limits: Limits) -> float:
        """See `infra.store.Store`."""
        ...

    def borrow_host(self, host: str, domain: str) -> float | None:
        """See `infra.store.Store`."""
        ...

    def robots(self, origin: str) -> Robots | None:
        """See `infra.store.Store`."""
        ...

    def commit(self, rows: CrawlRows) -> None:
        """See `infra.store.Store`."""
        ...


class Addresses(Protocol):
    """The clock of addresses that all workers share."""

    def reserve(self, addresses: Sequence[str], earliest: float) -> float:
        """See `crawlers.fetching.politeness.AddressClock`."""
        ...


@dataclass
class _HostClock:
    """When a host may next be asked, and what its delay is made from."""

    next_at: float
    crawl_delay_s: float = 0.0
    delay_s: float = 0.0


@dataclass(frozen=True)
class _Rules:
    """What an origin allows: `file` is None where nothing may be fetched."""

    file: RobotsFile | None
    reservation: bytes
    until: float


def _kept_s(known: Robots) -> float:
    """How long an answer stands: a day, or some minutes where the server did not give one."""
    failed = known.status in (0, 429) or known.status >= 500
    return UNREADABLE_KEPT_S if failed else FRESH_S


def configured_delay(url: str, config: CrawlConfig) -> tuple[bool, float]:
    """Whether a URL's host is loopback or the operator's own, and the delay that is configured for
    it.
    """
    own = is_loopback(hostname_of(url)) or host_of(url) in config.own_hosts
    return own, config.own_delay_s if own else config.delay_s


class Session:
    """See the module's words. `run` returns when the generation's crawl is over for every worker."""

    def __init__(
        self,
        worker: int,
        generation: int,
        config: CrawlConfig,
        limits: Limits,
        queue: Queue,
        intake: Intake,
        transport: Transport,
        resolver: Resolver,
        clock: Clock,
        addresses: Addresses,
    ) -> None:
        self._worker = worker
        self._generation = generation
        self._config = config
        self._limits = limits
        self._queue = queue
        self._intake = intake
        self._transport = transport
        self._resolver = resolver
        self._clock = clock
        self._addresses = addresses
        self._rules: dict[str, _Rules] = {}
        self._store_lock = asyncio.Lock()
        self._rows = self._new_rows()
        self._flushed_at = clock.time()
        self._deadline = float("inf")

    def _new_rows(self) -> CrawlRows:
        return CrawlRows(
            generation=self._generation, limits=self._limits, opening=self._intake.opening
        )

    async def _store(self, method: Callable[..., Result], *arguments: Any) -> Result:
        """Call the store off the event loop, one call at a time."""
        async with self._store_lock:
            return await asyncio.to_thread(method, *arguments)

    async def run(self) -> None:
        """Crawl until nothing is leased, and nothing more may or can be."""
        visits: set[asyncio.Task[None]] = set()
        self._deadline = await self._store(self._queue.deadline, self._generation, self._limits)
        while True:
            free = self._config.max_hosts - len(visits)
            leases = await self._lease(free) if free > 0 else []
            visits |= {asyncio.create_task(self._visit(lease)) for lease in leases}
            if not visits and await self._is_finished():
                return
            await self._wait(visits)
            for visit in [v for v in visits if v.done()]:
                visits.remove(visit)
                visit.result()

    async def _lease(self, free: int) -> list[HostLease]:
        arguments = (self._worker, self._generation, free, self._config.host_urls, self._limits)
        return await self._store(self._queue.lease_hosts, *arguments)

    async def _is_finished(self) -> bool:
        await self._flush()
        return await self._store(self._queue.is_finished, self._generation, self._limits)

    async def _wait(self, visits: set[asyncio.Task[None]]) -> None:
        """Until a visit ends or a moment has passed; what has gathered is stored meanwhile."""
        pause = asyncio.create_task(self._clock.sleep_until(self._clock.time() + IDLE_S))
        await asyncio.wait({pause, *visits}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        if (
            self._clock.time() - self._flushed_at >= FLUSH_S
            or len(self._rows.outcomes) >= FLUSH_ROWS
        ):
            await self._flush()

    async def _flush(self) -> None:
        rows, self._rows = self._rows, self._new_rows()
        self._flushed_at = self._clock.time()
        if rows.requests or rows.outcomes or rows.visits:
            await self._store(self._queue.commit, rows)

    # One host.

    async def _visit(self, host: HostLease) -> None:
        """Fetch a host's leases one after another; those it asks us to leave for later go back to
        the queue.
        """
        clock = _HostClock(next_at=host.not_before)
        for lease in host.leases:
            if max(clock.next_at, self._clock.time()) > self._leave_at():
                break
            await self._fetch_lease(lease, host, clock)
        self._rows.visits.append(HostVisit(host.host, clock.next_at, clock.delay_s))
        if len(self._rows.outcomes) >= FLUSH_ROWS:
            await self._flush()

    def _leave_at(self) -> float:
        """From when on a request is not worth waiting for."""
        return min(self._clock.time() + self._limits.patience_s, self._deadline)

    async def _fetch_lease(self, lease: Lease, host: HostLease, clock: _HostClock) -> None:
        rules = await self._rules_of(lease.url, host, clock)
        if rules.file is None:
            self._end(lease, State.PENDING, UNREADABLE)
            return
        clock.crawl_delay_s = rules.file.crawl_delay_s
        if not rules.file.allows(path_of(lease.url)):
            self._end(lease, State.FORBIDDEN, FORBIDDEN)
            return
        headers = {"If-None-Match": lease.etag, "If-Modified-Since": lease.last_modified}
        answer = await self._ask(
            lease.url,
            lease.kind,
            host.host,
            host.domain,
            clock,
            {k: v for k, v in headers.items() if v},
        )
        if answer.status in (0, 429) or answer.status >= 500:
            retry = not answer.failure.startswith("forbidden")
            self._end(
                lease,
                State.PENDING if retry else State.FAILED,
                answer.failure or f"HTTP {answer.status}",
            )
            return
        digest = await asyncio.to_thread(self._intake.read, lease, answer)
        taken = self._intake.take(
            lease, host, answer, digest, rules.file, rules.reservation, self._clock.time()
        )
        taken.record = self._intake.record(taken, answer)
        taken.add_to(self._rows)
        if len(self._rows.outcomes) >= FLUSH_ROWS:
            await self._flush()

    def _end(self, lease: Lease, state: State, reason: str) -> None:
        self._rows.outcomes.append(Outcome(lease.url, state, reason, "", "", "", 0, False))
        if state != State.PENDING:
            self._rows.drops.append((reason.split(":")[0], lease.url))

    async def _ask(
        self,
        url: str,
        kind: str,
        host: str,
        domain: str,
        clock: _HostClock,
        headers: dict[str, str],
    ) -> Answer:
        """One request at the moment that the host's and the address's clocks allow, written to the
        fetch log.
        """
        own, configured = configured_delay(url, self._config)
        await self._clock.sleep_until(clock.next_at)
        addresses = [] if own else await self._resolver.resolve(url)
        if addresses:
            moment = await asyncio.to_thread(self._addresses.reserve, addresses, self._clock.time())
            await self._clock.sleep_until(moment)
        started = self._clock.time()
        answer = await self._transport.fetch(url, headers)
        ended = self._clock.time()
        asked = retry_after(answer.status, answer.header("retry-after"), ended)
        clock.delay_s = delay_after(configured, clock.crawl_delay_s, ended - started, own)
        clock.next_at = ended + max(clock.delay_s, asked)
        self._rows.requests.append(
            Request(
                request_id=content_key(self._worker, self._generation, url, repr(started)),
                generation=self._generation,
                worker=self._worker,
                host=host,
                domain=domain,
                address=answer.address or next(iter(addresses), ""),
                url=url,
                kind=kind,
                started_at=started,
                ended_at=ended,
                status=answer.status,
                num_bytes=len(answer.body),
                configured_delay_s=configured,
                crawl_delay_s=clock.crawl_delay_s,
                own=own,
                retry_after_s=asked,
                failure=answer.failure,
            )
        )
        return answer

    # robots.txt.

    async def look(self, url: str) -> Robots:
        """What an origin says in robots.txt, asked now; nothing else is fetched."""
        host = HostLease(host_of(url), registrable_domain(host_of(url)), 0.0, ())
        return await self._fetch_robots(origin_of(url), None, host, _HostClock(0.0))

    async def _rules_of(self, url: str, host: HostLease, clock: _HostClock) -> _Rules:
        """What an origin allows, from memory, from the store, or from the origin itself."""
        origin = origin_of(url)
        rules = self._rules.get(origin)
        if rules is not None and self._clock.time() <= rules.until:
            return rules
        known = await self._store(self._queue.robots, origin)
        if known is None or self._clock.time() > known.fetched_at + _kept_s(known):
            known = await self._fetch_robots(origin, known, host, clock)
            self._rows.robots.append(known)
        access, body = access_of(known, self._clock.time())
        file = None if access == "none" else RobotsFile(parse(body), self._config.product)
        if access == "file" and self._config.sitemaps:
            self._rows.links.extend(self._intake.sitemap_links(body, origin))
        if len(self._rules) > 100_000:
            self._rules.clear()
        self._rules[origin] = _Rules(file, known.reservation, known.fetched_at + _kept_s(known))
        return self._rules[origin]

    async def _fetch_robots(
        self, origin: str, known: Robots | None, host: HostLease, clock: _HostClock
    ) -> Robots:
        """Fetch robots.txt and the text-mining reservations of an origin; a bad answer keeps the
        last good copy.
        """
        answer = await self._follow(f"{origin}/robots.txt", host, clock)
        reservation = b""
        if 200 <= answer.status < 300:
            clock.crawl_delay_s = RobotsFile(parse(answer.body), self._config.product).crawl_delay_s
        if answer.status and answer.status < 500 and answer.status != 429:
            well_known = await self._ask(
                f"{origin}/.well-known/tdmrep.json", "tdmrep", host.host, host.domain, clock, {}
            )
            reservation = well_known.body[:MAX_BYTES] if well_known.status == 200 else b""
        at = self._clock.time()
        good = 200 <= answer.status < 300
        if good:
            page, record = self._intake.keep_whole(
                f"{origin}/robots.txt", "robots", host, answer, at
            )
            self._rows.pages.append(page)
            self._rows.records.append(record)
        return Robots(
            origin=origin,
            fetched_at=at,
            status=answer.status,
            body=answer.body[:MAX_BYTES] if good else b"",
            good_at=at if good else known.good_at if known else 0.0,
            good_body=answer.body[:MAX_BYTES] if good else known.good_body if known else b"",
            reservation=reservation or (known.reservation if known and not good else b""),
        )

    async def _follow(self, url: str, host: HostLease, clock: _HostClock) -> Answer:
        """Fetch robots.txt over up to five redirects, also to other hosts; more mean that there is
        none.
        """
        for _ in range(MAX_REDIRECTS + 1):
            if host_of(url) == host.host:
                answer = await self._ask(url, "robots", host.host, host.domain, clock, {})
            else:
                answer = await self._ask_elsewhere(url)
            target = (
                canonical_url(answer.header("location"), url)
                if 300 <= answer.status < 400
                else None
            )
            if target is None:
                return (
                    answer
                    if not 300 <= answer.status < 400
                    else Answer(404, address=answer.address)
                )
            url = target
        return Answer(404)

    async def _ask_elsewhere(self, url: str) -> Answer:
        """One request to a host that is not being visited: it is borrowed, and its clock kept."""
        host, domain = host_of(url), registrable_domain(host_of(url))
        for _ in range(BORROW_TRIES):
            not_before = await self._store(self._queue.borrow_host, host, domain)
            if not_before is not None:
                clock = _HostClock(not_before)
                answer = await self._ask(url, "robots", host, domain, clock, {})
                self._rows.visits.append(HostVisit(host, clock.next_at, clock.delay_s))
                return answer
            await self._flush()
            await self._clock.sleep_until(self._clock.time() + IDLE_S)
        return Answer(0, failure="the host that robots.txt moved to was busy")
