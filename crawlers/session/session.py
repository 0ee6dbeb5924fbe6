"""One worker's crawl of one generation: lease hosts, visit each politely, store the results.

Ray, Scrapy, sockets and the wall clock are not used here: transport, resolver, clock and the clock
of IP addresses are passed in. A test can therefore run a crawl of days in a second and get the same
log every time.
"""

from __future__ import annotations

import asyncio

from crawlers.config import CrawlConfig
from crawlers.fetching.transport import Clock, Resolver, Response, Transport
from crawlers.keeping.page_rows import PageRowsBuilder
from crawlers.permission.robots import FORBIDDEN, UNREADABLE
from crawlers.session.origin_rules import IDLE_S, OriginRules, OriginRulesReader
from crawlers.session.outbox import Addresses, Outbox, Queue
from crawlers.session.requester import HostClock, Requester
from crawlers.urls import registrable_domain, url_host, url_origin, url_path
from infra.store.frontier.records import HostLease, HostVisit, Lease, Limits, Outcome, Robots, State
from infra.store.tables.crawl import CrawlRows


class Session:
    """The crawl of one worker. `run` returns when the generation's crawl is over for all workers.

    Sessions that share a store in one process must share `store_lock`.
    """

    def __init__(
        self,
        worker: int,
        generation: int,
        config: CrawlConfig,
        limits: Limits,
        queue: Queue,
        builder: PageRowsBuilder,
        transport: Transport,
        resolver: Resolver,
        clock: Clock,
        addresses: Addresses,
        store_lock: asyncio.Lock | None = None,
    ) -> None:
        self._worker = worker
        self._generation = generation
        self._config = config
        self._limits = limits
        self._queue = queue
        self._builder = builder
        self._clock = clock
        self._outbox = Outbox(queue, self._new_rows, clock, store_lock or asyncio.Lock())
        self._requester = Requester(
            worker, generation, config, transport, resolver, clock, addresses, self._outbox
        )
        self._origins = OriginRulesReader(
            config, queue, builder, clock, self._requester, self._outbox
        )
        self._deadline = float("inf")

    def _new_rows(self) -> CrawlRows:
        return CrawlRows(self._generation, self._limits, warcinfo=self._builder.warcinfo)

    async def run(self) -> None:
        """Crawl until nothing is leased and nothing more can or may be leased."""
        visits: set[asyncio.Task[None]] = set()
        self._deadline = await self._outbox.call(
            self._queue.deadline, self._generation, self._limits
        )
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

    async def fetch_robots(self, url: str) -> Robots:
        """Fetch the robots.txt of a URL's origin now, and nothing else."""
        host = HostLease(url_host(url), registrable_domain(url_host(url)), 0.0, ())
        return await self._origins.fetch(url_origin(url), None, host, HostClock(0.0))

    async def _lease(self, num_hosts: int) -> list[HostLease]:
        arguments = (
            self._worker,
            self._generation,
            num_hosts,
            self._config.host_urls,
            self._limits,
        )
        return await self._outbox.call(self._queue.lease_hosts, *arguments)

    async def _is_finished(self) -> bool:
        await self._outbox.flush()
        return await self._outbox.call(self._queue.is_finished, self._generation, self._limits)

    async def _wait(self, visits: set[asyncio.Task[None]]) -> None:
        """Wait until a visit ends or `IDLE_S` has passed, then store rows that are many or old."""
        pause = asyncio.create_task(self._clock.sleep_until(self._clock.time() + IDLE_S))
        await asyncio.wait({pause, *visits}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        if self._outbox.is_old or self._outbox.is_full:
            await self._outbox.flush()

    async def _visit(self, host: HostLease) -> None:
        """Fetch the leased URLs of a host one after another.

        URLs for which the host demands too long a wait go back to the queue.
        """
        host_clock = HostClock(next_at=host.not_before)
        for lease in host.leases:
            if max(host_clock.next_at, self._clock.time()) > self._latest_start():
                break
            await self._fetch(lease, host, host_clock)
        visit = HostVisit(host.host, host_clock.next_at, host_clock.delay_s)
        self._outbox.rows.visits.append(visit)
        if self._outbox.is_full:
            await self._outbox.flush()

    def _latest_start(self) -> float:
        """The latest time of a next request that is still worth waiting for."""
        return min(self._clock.time() + self._limits.patience_s, self._deadline)

    async def _fetch(self, lease: Lease, host: HostLease, host_clock: HostClock) -> None:
        """Fetch one leased URL if robots.txt allows it, and add its rows to the outbox."""
        rules = await self._origins.rules(lease.url, host, host_clock)
        if rules.file is None:
            self._end(lease, State.PENDING, UNREADABLE)
            return
        host_clock.crawl_delay_s = rules.file.crawl_delay_s
        if not rules.file.allows(url_path(lease.url)):
            self._end(lease, State.FORBIDDEN, FORBIDDEN)
            return
        headers = {"If-None-Match": lease.etag, "If-Modified-Since": lease.last_modified}
        response = await self._requester.send(
            lease.url,
            lease.kind,
            host.host,
            host.domain,
            host_clock,
            {name: value for name, value in headers.items() if value},
        )
        if response.status in (0, 429) or response.status >= 500:
            retry = not response.failure.startswith("forbidden")
            reason = response.failure or f"HTTP {response.status}"
            self._end(lease, State.PENDING if retry else State.FAILED, reason)
            return
        await self._keep(lease, host, response, rules)

    async def _keep(
        self, lease: Lease, host: HostLease, response: Response, rules: OriginRules
    ) -> None:
        """Parse a response and add its rows to the outbox."""
        assert rules.file is not None
        parsed = await asyncio.to_thread(self._builder.parse, lease, response)
        page_rows = self._builder.build(
            lease, host, response, parsed, rules.file, rules.reservation, self._clock.time()
        )
        page_rows.record = self._builder.warc_record(page_rows, response)
        page_rows.add_to(self._outbox.rows)
        if self._outbox.is_full:
            await self._outbox.flush()

    def _end(self, lease: Lease, state: State, reason: str) -> None:
        """Record the outcome of a URL that gave no page."""
        rows = self._outbox.rows
        rows.outcomes.append(Outcome(lease.url, state, reason, "", "", "", 0, False))
        if state != State.PENDING:
            rows.drops.append((reason.split(":")[0], lease.url))
