"""The plan of a crawl, made before any page is fetched: which seeds are allowed, and at which cost.

Only robots.txt and the text-mining reservations of the seeds' origins are fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import socket_policy
from crawlers.fetching.politeness import AddressClock, delay_after
from crawlers.fetching.transport import SystemClock, SystemResolver, Transport
from crawlers.keeping.page_rows import PageRowsBuilder
from crawlers.permission.robots import RobotsFile, parse_robots, robots_access, sitemaps_in
from crawlers.permission.statements import (
    PURPOSES,
    PageMeta,
    Statement,
    deciding_statement,
    statements_about,
)
from crawlers.reading.reader_process import ReaderProcess
from crawlers.session.requester import configured_delay
from crawlers.session.session import Session
from crawlers.urls import url_host, url_path
from infra.store import Store
from infra.store.frontier.records import Robots

BYTES_PER_PAGE = 20_000
"""Compressed size of a page on disk; the mean of Common Crawl's HTML is 15 to 25 kB."""


@dataclass(frozen=True)
class SeedPlan:
    """What the site of one seed allows.

    `rule` is the line of robots.txt that decides the seed, "" if there is none.
    """

    url: str
    robots_status: int
    allowed: bool
    rule: str
    train: Statement
    evaluate: Statement
    delay_s: float
    num_sitemaps: int


def plan_seeds(config: CrawlConfig, seeds: Sequence[str]) -> list[SeedPlan]:
    """Fetch robots.txt of every seed's origin and say what it allows.

    Can be called once in a process (see `run_spider`).
    """
    from crawlers.fetching.spider import run_spider  # installs the reactor

    plans: list[SeedPlan] = []
    store = Store(":memory:")
    reader = ReaderProcess(config.product, config.extract_timeout_s, config.extract_memory_bytes)
    builder = PageRowsBuilder(config, seeds, "", 0, reader)
    addresses = AddressClock(config.address_gap_s)

    async def main(transport: Transport) -> None:
        clock = SystemClock()
        session = Session(
            0,
            0,
            config,
            config.limits(1),
            store.crawl,
            builder,
            transport,
            SystemResolver(),
            clock,
            addresses,
        )
        for seed in seeds:
            robots = await session.fetch_robots(seed)
            plans.append(_seed_plan(config, seed, robots, clock.time()))

    try:
        policy = socket_policy(seeds, config.allow_addresses, config.allow_ports)
        run_spider(config, policy, main)
    finally:
        store.close()
    return plans


def _seed_plan(config: CrawlConfig, seed: str, robots: Robots, now: float) -> SeedPlan:
    access, body = robots_access(robots, now)
    file = RobotsFile(parse_robots(body), config.product)
    rule = file.decide(url_path(seed))
    statements = statements_about(seed, file, robots.reservation, {}, PageMeta(), config.product)
    train, evaluate = (deciding_statement(purpose, statements) for purpose in PURPOSES)
    own, configured = configured_delay(seed, config)
    return SeedPlan(
        url=seed,
        robots_status=robots.status,
        allowed=access != "none" and (rule is None or rule.allow),
        rule=rule.line if rule else "",
        train=train,
        evaluate=evaluate,
        delay_s=delay_after(configured, file.crawl_delay_s, 0.0, own),
        num_sitemaps=len(sitemaps_in(body)),
    )


@dataclass(frozen=True)
class Cost:
    """The least that a generation needs: time for politeness delays, and disk for bodies."""

    requests: int
    seconds: float
    disk_bytes: int


def estimate_cost(config: CrawlConfig, plans: Sequence[SeedPlan], pages: int) -> Cost:
    """The cost of fetching `pages` pages, spread evenly over the hosts that allow it."""
    delays = {url_host(p.url): p.delay_s for p in plans if p.allowed}
    if not delays:
        return Cost(2 * len(plans), 0.0, 0)
    share = min(pages / len(delays), config.host_pages)
    return Cost(
        round(share * len(delays)) + 2 * len(plans),
        share * max(delays.values()),
        round(share * len(delays)) * BYTES_PER_PAGE,
    )
