"""A world for crawl sessions: a table of answers, a clock that jumps, and a store in memory."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

from crawlers.config import CrawlConfig
from crawlers.fetching.politeness import AddressClock
from crawlers.fetching.transport import Response
from crawlers.keeping.page_rows import PageRowsBuilder
from crawlers.reading.parse_body import parse_body
from crawlers.reading.parsed_body import ParsedBody, ParseTask
from crawlers.session.session import Session
from crawlers.urls import registrable_domain, url_host, url_hostname, url_section
from infra.records import Request
from infra.store import Store
from infra.store.frontier.records import Link

WORDS = "A sentence with several different words that tells a little about the page it stands on. "


def html(name: str, *links: str, head: str = "") -> Response:
    """A page of its own text with links."""
    anchors = "".join(f'<a href="{link}">{link}</a> ' for link in links)
    own = " ".join(
        f"{name}{i} is thing number {i} of {name} and not of another." for i in range(30)
    )
    body = (
        f"<html><head><title>{name}</title>{head}</head><body><p>{own}</p>{anchors}</body></html>"
    )
    return Response(200, {"content-type": ["text/html; charset=utf-8"]}, body.encode())


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only when everybody waits, and then at once."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self.now = 1_000_000.0
        self.in_threads = 0
        loop = self

        class Jumping(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                if loop.in_threads:
                    return super().select(0.001)
                if timeout:
                    loop.now += timeout
                return super().select(0)

        jumping = Jumping()
        for key in list(self._selector.get_map().values()):
            jumping.register(key.fileobj, key.events, key.data)
        self._selector = jumping

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        self.in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: object) -> None:
        self.in_threads -= 1


class LoopClock:
    """The time of a `JumpingLoop`."""

    def __init__(self, loop: JumpingLoop) -> None:
        self.loop = loop

    def time(self) -> float:
        return self.loop.now

    async def sleep_until(self, moment: float) -> None:
        while (left := moment - self.loop.now) > 0:
            await asyncio.sleep(left)


class World:
    """Answers by URL; each takes `latency` seconds. An answer may be a function of the time."""

    def __init__(
        self, loop: JumpingLoop, answers: Mapping[str, Response | Callable[[float], Response]]
    ) -> None:
        self.loop = loop
        self.answers = dict(answers)
        self.latency: dict[str, float] = {}
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def fetch(self, url: str, headers: Mapping[str, str]) -> Response:
        self.asked.append(url)
        await asyncio.sleep(self.latency.get(url_host(url), 0.1))
        answer = self.answers.get(url, Response(404))
        if callable(answer):
            answer = answer(self.loop.now)
        if headers.get("If-None-Match") and headers["If-None-Match"] == answer.header("etag"):
            return Response(304, answer.headers)
        return answer

    async def resolve(self, url: str) -> list[str]:
        return self.addresses.get(
            url_hostname(url),
            [f"93.184.{len(url_hostname(url))}.{sum(url_hostname(url).encode()) % 250}"],
        )


class DirectParser:
    """Parses in this process; for pages that the tests wrote themselves."""

    def parse(self, task: ParseTask) -> ParsedBody:
        return parse_body(task, "RatchetBot")


def link(url: str, weight: float = 1.0, kind: str = "page") -> Link:
    host = url_host(url)
    return Link(url, host, registrable_domain(host), url_section(url), kind, 0, weight)


class Crawler:
    """Everything that a crawl over a `World` needs; `crawl` runs one generation with some workers
    at once."""

    def __init__(
        self,
        seeds: list[str],
        answers: Mapping[str, Response | Callable[[float], Response]],
        path: str = ":memory:",
        **config: Any,
    ) -> None:
        self.loop = JumpingLoop()
        self.world = World(self.loop, answers)
        self.seeds = seeds
        self.config = CrawlConfig(
            seeds=seeds, contact="me@example.org", policy="lenient-1", **config
        )
        self.store = Store(path, clock=lambda: self.loop.now)

    def crawl(self, generation: int = 1, pages: int = 1000, workers: int = 1) -> None:
        self.store.crawl.start(generation, [link(url) for url in self.seeds], workers)
        addresses = AddressClock(self.config.address_gap_s)

        async def main() -> None:
            sessions, lock = [], asyncio.Lock()
            for worker in range(workers):
                builder = PageRowsBuilder(
                    self.config, self.seeds, "salt", generation, DirectParser()
                )
                sessions.append(
                    Session(
                        worker,
                        generation,
                        self.config,
                        self.config.limits(pages),
                        self.store.crawl,
                        builder,
                        self.world,
                        self.world,
                        LoopClock(self.loop),
                        addresses,
                        lock,
                    )
                )
            await asyncio.wait_for(asyncio.gather(*(s.run() for s in sessions)), 1e7)

        self.loop.run_until_complete(main())

    def log(self) -> list[Request]:
        return self.store.database.records(
            Request, "SELECT * FROM request ORDER BY started_at, request_id"
        )

    def close(self) -> None:
        self.store.close()
        self.loop.close()
