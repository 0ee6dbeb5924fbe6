"""Pages per CPU-second of a whole crawl against a plain Scrapy spider that only stores bodies.

    python -m benchmarks.crawl_speed [--pages 4000] [--repeats 3]

Both fetch the same URLs from the same loopback site on eight addresses, with the same Scrapy. Ours
obeys robots.txt, reads permissions, checks sockets, leases from the frontier, and writes WARC;
reading the bodies (extraction, signals, fingerprints) is measured apart. CPU time is user and
system of the crawling process and its children, from the end of imports on.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.results import append

ROOT = Path(__file__).resolve().parent.parent
ADDRESSES = [f"127.0.0.{i}" for i in range(1, 9)]
PORT = 8731


def page(number: int) -> bytes:
    """Some 20 kB of HTML, different for every number."""
    words = " ".join(f"word{(number * 31 + i * 7) % 5000}" for i in range(2200))
    head = f"<html><head><title>Page {number}</title></head>"
    return f"{head}<body><p>{words}.</p></body></html>".encode()


async def _serve() -> None:
    bodies = [page(i) for i in range(64)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
                number = (
                    int(asked.rsplit(b"/", 1)[-1]) if asked.rsplit(b"/", 1)[-1].isdigit() else -1
                )
                body = bodies[number % 64] + b"<!-- %d -->" % number
                status = b"200 OK" if number >= 0 else b"404 Not Found"
                head = (
                    b"HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\n"
                    b"Content-Length: %d\r\n\r\n"
                )
                writer.write(head % (status, len(body)) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    servers = [await asyncio.start_server(answer, address, PORT) for address in ADDRESSES]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def page_urls(pages: int) -> list[str]:
    """The same URLs for both."""
    return [f"http://{ADDRESSES[i % len(ADDRESSES)]}:{PORT}/{i}" for i in range(pages)]


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peer(urls: list[str], folder: Path) -> int:
    import scrapy
    from scrapy.crawler import AsyncCrawlerProcess

    number = 0

    class Plain(scrapy.Spider):  # type: ignore[misc]
        name = "plain"

        async def start(self) -> Any:
            for url in urls:
                yield scrapy.Request(url, dont_filter=True)

        def parse(self, response: Any) -> None:
            nonlocal number
            (folder / f"{number}.html").write_bytes(response.body)
            number += 1

    settings = {
        "LOG_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "CONCURRENT_REQUESTS": 16,
        "DOWNLOAD_DELAY": 0,
        "ROBOTSTXT_OBEY": False,
    }
    process = AsyncCrawlerProcess(settings)
    process.crawl(Plain)
    process.start()
    return number


def _ours(urls: list[str], folder: Path, extract: bool) -> int:
    from resiliparse.parse.html import HTMLTree

    from crawlers.config import CrawlConfig
    from crawlers.fetching.address_check import socket_policy
    from crawlers.fetching.politeness import AddressClock
    from crawlers.fetching.spider import run_spider
    from crawlers.fetching.transport import SystemClock, SystemResolver, Transport
    from crawlers.keeping.page_rows import PageRowsBuilder
    from crawlers.permission.statements import read_meta
    from crawlers.reading.parsed_body import ParsedBody, ParseTask
    from crawlers.reading.reader_process import ReaderProcess
    from crawlers.session.session import Session
    from infra.store import Store
    from loop.stages.crawl import seed_links

    class Unread:
        """Reads of a body only what it says about its own use."""

        def parse(self, task: ParseTask) -> ParsedBody:
            meta = read_meta(
                task.body, HTMLTree.parse(""), config.product
            )  # these pages say nothing
            return ParsedBody(meta_robots=meta.robots, meta_reservation=meta.reservation)

    config = CrawlConfig(seeds=urls)
    store = Store(str(folder / "ratchet.duckdb"))
    store.crawl.start(1, seed_links(config, urls), 1)
    child = ReaderProcess(config.product, config.extract_timeout_s, config.extract_memory_bytes)
    builder = PageRowsBuilder(config, urls, "salt", 1, child if extract else Unread())

    async def main(transport: Transport) -> None:
        addresses = AddressClock(0.5)
        limits = config.limits(len(urls))
        await Session(
            0,
            1,
            config,
            limits,
            store.crawl,
            builder,
            transport,
            SystemResolver(),
            SystemClock(),
            addresses,
        ).run()

    run_spider(config, socket_policy(urls, [], []), main)
    child.close()
    number = store.crawl.counts(1)["fetched"]
    store.close()
    return number


def _measure(kind: str, pages: int) -> None:
    """The child: crawl, and print pages, CPU seconds and wall seconds."""
    urls = page_urls(pages)
    import scrapy.crawler  # noqa: F401

    import loop.stages.crawl  # noqa: F401

    with tempfile.TemporaryDirectory() as name:
        cpu, wall = _cpu_s(), time.perf_counter()
        number = (
            _peer(urls, Path(name))
            if kind == "peer"
            else _ours(urls, Path(name), kind == "ours with extraction")
        )
        print(json.dumps([number, _cpu_s() - cpu, time.perf_counter() - wall]))


def _run(kind: str, pages: int) -> tuple[int, float, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.crawl_speed",
        "--measure",
        kind,
        "--pages",
        str(pages),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=True
    )
    number, cpu, wall = json.loads(done.stdout.strip().splitlines()[-1])
    assert number == pages, f"{kind} fetched {number} of {pages}"
    return number, cpu, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", default="")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve())
    elif options.measure:
        _measure(options.measure, options.pages)
    else:
        compare(options.pages, options.repeats)


def compare(pages: int, repeats: int) -> None:
    """Take turns, so that a slow moment of the machine meets both."""
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.crawl_speed", "--serve"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    server.stdout.readline()
    rates: dict[str, list[float]] = {"peer": [], "ours": [], "ours with extraction": []}
    walls: dict[str, list[float]] = {kind: [] for kind in rates}
    try:
        for _ in range(repeats):
            for kind in rates:
                number, cpu, wall = _run(
                    kind, pages if kind != "ours with extraction" else pages // 4
                )
                rates[kind].append(number / cpu)
                walls[kind].append(number / wall)
    finally:
        server.kill()
    base = rates["peer"]
    rows = []
    for kind, name in (
        ("peer", f"plain spider, Scrapy {importlib.metadata.version('scrapy')}"),
        ("ours", "Ratchet: robots, permission, safety, leases, WARC"),
        ("ours with extraction", "Ratchet, with extraction, signals and fingerprints"),
    ):
        ratios = [a / b for a, b in zip(rates[kind], base, strict=True)]
        rows.append(
            [
                name,
                f"{statistics.median(rates[kind]):.0f}",
                f"{statistics.median(walls[kind]):.0f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        )
    append(
        f"Crawl: {pages} pages of 20 kB from loopback, {repeats} turns",
        ["crawler", "pages per CPU-second", "pages per second", "ratio to the plain spider"],
        rows,
    )


if __name__ == "__main__":
    main()
