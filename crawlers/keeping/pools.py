"""Which pool a text belongs to, decided by a salted hash before anybody sees it."""

from __future__ import annotations

from collections.abc import Sequence

from crawlers.config import CrawlConfig
from crawlers.urls import host_of, registrable_domain
from infra.records import unit_hash


def pool_of(url: str, domain: str, salt: str, config: CrawlConfig, by_domain: bool) -> str:
    """The pool of a page's text (train, gate or sealed), from its registrable domain or its URL,
    whatever it says.
    """
    place = unit_hash(salt, "pool", domain if by_domain else url)
    if place < config.gate_share:
        return "gate"
    return "sealed" if place < config.gate_share + config.sealed_share else "train"


def pools_by_domain(config: CrawlConfig, seeds: Sequence[str]) -> bool:
    """Whether whole domains go to one pool: where a crawl has many of them, as its recipe alone can
    tell.
    """
    if config.pool_by != "auto":
        return config.pool_by == "domain"
    domains = {registrable_domain(host_of(seed)) for seed in seeds}
    return config.allow_other_hosts or len(domains) >= 20
