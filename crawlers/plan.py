"""What a crawl would be allowed to do, and what it would cost, before any page is fetched.

Asked are robots.txt and the text-mining reservations of the seeds' origins, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import socket_policy
from crawlers.fetching.politeness import AddressClock, delay_after
from crawlers.fetching.session import Session, configured_delay
from crawlers.fetching.transport import SystemClock, SystemResolver, Transport
from crawlers.keeping.page_rows import Intake
from crawlers.permission.robots import RobotsFile, access_of, parse, sitemaps_in
from crawlers.permission.statements import PURPOSES, PageMeta, Word, verdict_for, words_about
from crawlers.reading.reader_process import DigestChild
from crawlers.urls import host_of, path_of
from infra.store import Store
from infra.store.frontier.records import Robots

BYTES_PER_PAGE = 20_000
"""What a page takes on disk, compressed; the mean of Common Crawl's HTML is some 15 to 25 kB."""


@dataclass(frozen=True)
class SeedPlan:
    """What holds for one seed."""

    url: str
    robots_status: int
    allowed: bool
    rule: str
    train: Word
    evaluate: Word
    delay_s: float
    num_sitemaps: int


def plan(config: CrawlConfig, seeds: Sequence[str]) -> list[SeedPlan]:
    """Ask every seed's origin; once a process, because it runs Scrapy."""
    from crawlers.fetching.spider import crawl  # installs the reactor

    found: list[SeedPlan] = []
    store = Store(":memory:")
    child = DigestChild(config.product, config.extract_timeout_s, config.extract_memory_bytes)
    intake = Intake(config, seeds, "", 0, child)
    addresses = AddressClock(config.address_gap_s)

    async def main(transport: Transport) -> None:
        clock = SystemClock()
        session = Session(
            0,
            0,
            config,
            config.limits(1),
            store.crawl,
            intake,
            transport,
            SystemResolver(),
            clock,
            addresses,
        )
        for seed in seeds:
            robots = await session.look(seed)
            found.append(_seed_plan(config, seed, robots, clock.time()))

    try:
        crawl(config, socket_policy(seeds, config.allow_addresses, config.allow_ports), main)
    finally:
        store.close()
    return found


def _seed_plan(config: CrawlConfig, seed: str, robots: Robots, now: float) -> SeedPlan:
    access, body = access_of(robots, now)
    file = RobotsFile(parse(body), config.product)
    rule = file.decide(path_of(seed))
    words = words_about(seed, file, robots.reservation, {}, PageMeta(), config.product)
    train, evaluate = (verdict_for(purpose, words) for purpose in PURPOSES)
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
    """What a generation would take at least: time by politeness alone, and disk for bodies."""

    requests: int
    seconds: float
    disk_bytes: int


def cost(config: CrawlConfig, plans: Sequence[SeedPlan], pages: int) -> Cost:
    """The cost of a generation's pages, spread evenly over the hosts that may be visited."""
    delays = {host_of(p.url): p.delay_s for p in plans if p.allowed}
    if not delays:
        return Cost(2 * len(plans), 0.0, 0)
    share = min(pages / len(delays), config.host_pages)
    return Cost(
        round(share * len(delays)) + 2 * len(plans),
        share * max(delays.values()),
        round(share * len(delays)) * BYTES_PER_PAGE,
    )
