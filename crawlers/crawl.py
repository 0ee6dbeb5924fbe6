"""Running Scrapy over a batch: in a fresh process, or in this process's own event loop.

A Twisted reactor cannot be started twice, so the safe way is a process a batch (`SubprocessRunner`).
Without a reactor (`TWISTED_REACTOR_ENABLED=False`, experimental in Scrapy 2.19) crawls can follow each
other in one process (`InProcessRunner`). Both give the same outcomes; a contract test holds them to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from scrapy.crawler import AsyncCrawlerProcess, AsyncCrawlerRunner

from crawlers.config import CrawlConfig
from crawlers.safety import guarded_sockets
from crawlers.spider import BatchSpider, Fetch, Lease, scrapy_settings
from infra.errors import StageError
from infra.records import now
from infra.tables import from_table, to_table

START_UP_S = 180.0
"""Allowance for starting a Python process with Scrapy on a loaded machine."""


class Runner(Protocol):
    """Fetches leases of one host."""

    def fetch(self, leases: Sequence[Lease], config: CrawlConfig) -> list[Fetch]:
        """One outcome a lease, in the order of the leases."""
        ...


def _complete(leases: Sequence[Lease], fetches: Sequence[Fetch]) -> list[Fetch]:
    """The outcomes in the order of the leases; a lease without one is a failure with that reason."""
    by_url = {fetch.url: fetch for fetch in fetches}
    lost = "no response before the crawl ended"
    return [by_url.get(lease.url) or Fetch(lease.url, 0, "", "", "", "", now(), b"", lost) for lease in leases]


class InProcessRunner:
    """Scrapy without a reactor in an event loop of this process."""

    def fetch(self, leases: Sequence[Lease], config: CrawlConfig) -> list[Fetch]:
        """See `Runner`."""
        logging.getLogger("scrapy").setLevel(logging.CRITICAL)
        fetches: list[Fetch] = []
        settings = scrapy_settings(config, leases[0].url) | {"TWISTED_REACTOR_ENABLED": False}

        async def crawl() -> None:
            await AsyncCrawlerRunner(settings).crawl(BatchSpider, leases=leases, deliver=fetches.append)

        with guarded_sockets(config.seeds):
            asyncio.run(crawl())
        return _complete(leases, fetches)


class SubprocessRunner:
    """Scrapy with its reactor in a fresh Python process a batch."""

    def fetch(self, leases: Sequence[Lease], config: CrawlConfig) -> list[Fetch]:
        """See `Runner`. A process that dies or hangs raises `StageError`; the leases are given again later."""
        per_page = 3 * config.timeout_s + config.delay_s
        with tempfile.TemporaryDirectory(prefix="ratchet-crawl-") as folder:
            task, result = Path(folder) / "task.json", Path(folder) / "result.arrow"
            task.write_text(json.dumps({"config": config.model_dump(), "leases": [asdict(lease) for lease in leases]}))
            try:
                done = subprocess.run(  # noqa: S603
                    [sys.executable, "-m", "crawlers.crawl", str(task), str(result)],
                    cwd=Path(__file__).resolve().parent.parent,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=START_UP_S + per_page * len(leases),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise StageError("crawl", leases[0].host, "the crawl process hung and was killed") from None
            if done.returncode != 0 or not result.exists():
                tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
                raise StageError("crawl", leases[0].host, f"the crawl process failed: {tail[0]}")
            with pa.ipc.open_file(result) as reader:
                return _complete(leases, from_table(Fetch, reader.read_all()))


RUNNERS: dict[str, type[SubprocessRunner] | type[InProcessRunner]] = {
    "subprocess": SubprocessRunner,
    "inprocess": InProcessRunner,
}


def _crawl_in_this_process(task: Path, result: Path) -> None:
    """The child of `SubprocessRunner`: read the task, crawl under the reactor, write the outcomes."""
    data = json.loads(task.read_text())
    config = CrawlConfig.model_validate(data["config"])
    leases = [Lease(**lease) for lease in data["leases"]]
    fetches: list[Fetch] = []
    process = AsyncCrawlerProcess(scrapy_settings(config, leases[0].url), install_root_handler=False)
    process.crawl(BatchSpider, leases=leases, deliver=fetches.append)
    with guarded_sockets(config.seeds):
        process.start(install_signal_handlers=False)
    table = to_table(Fetch, fetches)
    with pa.OSFile(str(result), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


if __name__ == "__main__":
    _crawl_in_this_process(Path(sys.argv[1]), Path(sys.argv[2]))
