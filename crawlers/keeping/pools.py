"""Assigns each text to a pool by a salted hash, before anybody reads it."""

from __future__ import annotations

from collections.abc import Sequence

from crawlers.config import CrawlConfig
from crawlers.urls import registrable_domain, url_host
from infra.records import unit_hash


def choose_pool(url: str, domain: str, salt: str, config: CrawlConfig, by_domain: bool) -> str:
    """The pool of a page's text: `train`, `gate`, `sealed` or `development`.

    It depends on the page's registrable domain (or its URL) and never on the text.
    """
    number = unit_hash(salt, "pool", domain if by_domain else url)
    for pool, share in config.held_out_shares().items():
        if number < share:
            return pool
        number -= share
    return "train"


def pools_by_domain(config: CrawlConfig, seeds: Sequence[str]) -> bool:
    """Whether whole domains go to one pool: yes if the recipe may lead to many domains."""
    if config.pool_by != "auto":
        return config.pool_by == "domain"
    domains = {registrable_domain(url_host(seed)) for seed in seeds}
    return config.allow_other_hosts or len(domains) >= 20
