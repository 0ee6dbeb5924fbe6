"""Where a crawl starts. A source gives seed URLs and may serve a site of its own while it is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from crawlers.builtin_site import serving, site_folder
from crawlers.config import CrawlConfig
from crawlers.safety import is_loopback
from crawlers.urls import BUILTIN, hostname_of, require_urls
from infra.errors import UserError


class Source(Protocol):
    """Plug-in point: open it, and it yields the URLs to start from."""

    def open(self) -> AbstractContextManager[list[str]]:
        """Canonical seed URLs, reachable while the context lasts."""
        ...


class WebSource:
    """Seeds that are somewhere on the network already."""

    def __init__(self, config: CrawlConfig) -> None:
        self.seeds = require_urls(config.seeds)
        remote = [seed for seed in self.seeds if not is_loopback(hostname_of(seed))]
        if remote and not config.contact:
            raise UserError(
                "crawl.contact", config.contact, f"crawling {remote[0]} needs a way to reach you.",
                "Set crawl.contact to a URL or e-mail address; it becomes part of the user agent.",
            )  # fmt: skip

    @contextmanager
    def open(self) -> Iterator[list[str]]:
        """See `Source`."""
        yield self.seeds


class BuiltinSource:
    """The built-in site, served on a loopback port that stays the same for the life of a run."""

    def __init__(self, name: str, port: int) -> None:
        if name != "pydoc":
            raise UserError("crawl.seeds", BUILTIN + name, "no such built-in site.", "Known: builtin:pydoc.")
        self.port = port

    @contextmanager
    def open(self) -> Iterator[list[str]]:
        """See `Source`."""
        with serving(site_folder(), self.port) as url:
            yield [url]


def source_of(config: CrawlConfig, builtin_port: int = 0) -> Source:
    """The source that a recipe names."""
    builtin = [seed for seed in config.seeds if seed.startswith(BUILTIN)]
    if not builtin:
        return WebSource(config)
    if len(config.seeds) > 1:
        raise UserError("crawl.seeds", config.seeds, "a built-in site stands alone.", "Name it, or URLs, not both.")
    return BuiltinSource(builtin[0].removeprefix(BUILTIN), builtin_port)
