"""A crawl worker: one session over one part of the frontier, with Scrapy as transport and a child
that reads bodies.

A plain class: in a cluster it is an actor in a process of its own, and `ratchet crawl run` calls it
in the process it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import SocketPolicy
from crawlers.fetching.session import Addresses, Queue, Session
from crawlers.fetching.transport import SystemClock, SystemResolver, Transport
from crawlers.keeping.page_rows import Intake
from crawlers.reading.reader_process import DigestChild

if TYPE_CHECKING:
    from infra.store.frontier.records import Limits


class CrawlWorker:
    """Crawls its hosts until the generation's crawl is over; commits what it fetched itself."""

    def __init__(
        self,
        config: CrawlConfig,
        seeds: Sequence[str],
        salt: str,
        queue: Queue,
        addresses: Addresses,
        policy: SocketPolicy,
        worker: int,
    ) -> None:
        self._config = config
        self._seeds = list(seeds)
        self._salt = salt
        self._queue = queue
        self._addresses = addresses
        self._policy = policy
        self._worker = worker

    def crawl(self, generation: int, limits: Limits) -> None:
        """Crawl one generation; once a process, because a reactor cannot be started twice."""
        from crawlers.fetching.spider import crawl  # installs the reactor

        config = self._config
        child = DigestChild(config.product, config.extract_timeout_s, config.extract_memory_bytes)
        intake = Intake(config, self._seeds, self._salt, generation, child)

        async def main(transport: Transport) -> None:
            session = Session(
                self._worker,
                generation,
                config,
                limits,
                self._queue,
                intake,
                transport,
                SystemResolver(),
                SystemClock(),
                self._addresses,
            )
            await session.run()

        try:
            crawl(config, self._policy, main)
        finally:
            child.close()
