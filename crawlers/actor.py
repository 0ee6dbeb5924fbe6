"""A crawl worker as a Ray actor: takes leases, crawls them, commits the rows to the store itself."""

from __future__ import annotations

from typing import Any

from crawlers.batch import crawl_batch
from crawlers.config import CrawlConfig
from crawlers.crawl import RUNNERS
from crawlers.spider import Lease
from infra.store import Store


class CrawlWorker:
    """One host at a time. Page bodies go from here to the store and never through the driver."""

    def __init__(self, config: CrawlConfig, salt: str, store: Store) -> None:
        self._config = config
        self._salt = salt
        self._store = store
        self._runner = RUNNERS[config.runner]()

    def crawl(self, leases: list[dict[str, Any]], generation: int) -> int:
        """Crawl and commit one batch; the number of leases retired."""
        batch = [Lease(**lease) for lease in leases]
        rows = crawl_batch(batch, self._runner, self._config, self._salt, generation)
        self._store.commit_crawl(rows.pages, rows.documents, rows.links, rows.outcomes)
        self._store.note_drops(generation, "crawl", rows.drops)
        return len(batch)
