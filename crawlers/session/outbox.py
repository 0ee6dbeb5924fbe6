"""Rows of a session that are not stored yet, and its calls to the store, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from crawlers.fetching.transport import Clock
from crawlers.keeping.page_rows import FLUSH_ROWS
from infra.store.frontier.records import HostLease, Limits, Robots
from infra.store.tables.crawl import CrawlRows

FLUSH_S = 3.0
"""Rows are stored at least this often, in seconds."""
Result = TypeVar("Result")


class Queue(Protocol):
    """The methods of `store.crawl` (a `CrawlTables`) that a session calls."""

    def lease_hosts(
        self, worker: int, generation: int, num_hosts: int, per_host: int, limits: Limits
    ) -> list[HostLease]:
        """Lease URLs of up to `num_hosts` hosts, at most `per_host` URLs of each."""
        ...

    def is_finished(self, generation: int, limits: Limits) -> bool:
        """Whether nothing is leased and nothing more can or may be leased."""
        ...

    def deadline(self, generation: int, limits: Limits) -> float:
        """When the crawl of the generation must end, in seconds since the epoch."""
        ...

    def borrow_host(self, host: str, domain: str) -> float | None:
        """Reserve a host for one request; returns when it may start, None if the host is busy."""
        ...

    def robots(self, origin: str) -> Robots | None:
        """The stored robots.txt of an origin, if there is one."""
        ...

    def commit(self, rows: CrawlRows) -> None:
        """Store rows in one step."""
        ...


class Addresses(Protocol):
    """The clock of IP addresses that all workers of a crawl share (`AddressClock`)."""

    def reserve(self, addresses: Sequence[str], earliest: float) -> float:
        """Reserve the first moment from `earliest` on at which all the addresses are free."""
        ...


class Outbox:
    """Collects rows in `rows` and stores them when they are many or old."""

    def __init__(
        self, queue: Queue, new_rows: Callable[[], CrawlRows], clock: Clock, lock: asyncio.Lock
    ) -> None:
        self._queue = queue
        self._new_rows = new_rows
        self._clock = clock
        self._lock = lock
        self._flushed_at = clock.time()
        self.rows = new_rows()

    async def call(self, method: Callable[..., Result], *arguments: Any) -> Result:
        """Call a method of the store in a thread; only one call runs at a time."""
        async with self._lock:
            return await asyncio.to_thread(method, *arguments)

    @property
    def is_full(self) -> bool:
        """Whether enough rows have gathered to store them."""
        return len(self.rows.outcomes) >= FLUSH_ROWS

    @property
    def is_old(self) -> bool:
        """Whether the last flush was `FLUSH_S` seconds ago or more."""
        return self._clock.time() - self._flushed_at >= FLUSH_S

    async def flush(self) -> None:
        """Store the rows and begin new ones."""
        rows, self.rows = self.rows, self._new_rows()
        self._flushed_at = self._clock.time()
        if rows.requests or rows.outcomes or rows.visits:
            await self.call(self._queue.commit, rows)
