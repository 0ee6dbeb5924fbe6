"""A crawl worker: one session over its part of the frontier, with Scrapy and a parsing process.

In a cluster it is a Ray actor in a process of its own; `ratchet crawl run` calls it in its own
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import SocketPolicy
from crawlers.fetching.transport import SystemClock, SystemResolver, Transport
from crawlers.keeping.page_rows import PageRowsBuilder
from crawlers.reading.reader_process import ReaderProcess
from crawlers.session.outbox import Addresses, Queue
from crawlers.session.session import Session

if TYPE_CHECKING:
    from infra.store.frontier.records import Limits


class CrawlWorker:
    """Crawls its hosts until the generation's crawl is over, and stores the results."""

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
        """Crawl one generation. Can be called once in a process (see `run_spider`)."""
        from crawlers.fetching.spider import run_spider  # installs the reactor

        config = self._config
        reader = ReaderProcess(
            config.product, config.extract_timeout_s, config.extract_memory_bytes
        )
        builder = PageRowsBuilder(config, self._seeds, self._salt, generation, reader)

        async def main(transport: Transport) -> None:
            session = Session(
                self._worker,
                generation,
                config,
                limits,
                self._queue,
                builder,
                transport,
                SystemResolver(),
                SystemClock(),
                self._addresses,
            )
            await session.run()

        try:
            run_spider(config, self._policy, main)
        finally:
            reader.close()
