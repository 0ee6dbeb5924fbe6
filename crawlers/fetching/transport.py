"""Interfaces through which a crawl session uses the network and the clock.

`crawlers.fetching.spider` implements the transport with Scrapy; tests use a table of responses.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import override

from crawlers.urls import url_hostname, url_port


@dataclass(frozen=True)
class Response:
    """An HTTP response; status 0 and a `failure` if there was none. Header names are lower case."""

    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    address: str = ""
    failure: str = ""

    def header(self, name: str) -> str:
        """The first value of a header, "" if it is missing."""
        return next(iter(self.headers.get(name, [])), "")[:2000]


class Transport(Protocol):
    """Sends one GET request. Never raises, and follows no redirect."""

    async def fetch(self, url: str, headers: Mapping[str, str]) -> Response:
        """Fetch a URL within the transport's limits; errors become a `Response` with a failure."""
        ...


class Resolver(Protocol):
    """Resolves host names to IP addresses."""

    async def resolve(self, url: str) -> list[str]:
        """All addresses of the URL's host; empty if it has none."""
        ...


class Clock(Protocol):
    """The time; a test can let a day pass at once."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep_until(self, moment: float) -> None:
        """Return at or after a moment, in seconds since the epoch."""
        ...


class SystemClock(Clock):
    """The machine's clock."""

    @override
    def time(self) -> float:
        return time.time()

    @override
    async def sleep_until(self, moment: float) -> None:
        while (left := moment - time.time()) > 0:
            await asyncio.sleep(left)


class SystemResolver(Resolver):
    """The system's resolver with a cache, because every request asks for addresses."""

    def __init__(self, kept_s: float = 300.0, timeout_s: float = 20.0) -> None:
        self._kept_s = kept_s
        self._timeout_s = timeout_s
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}

    @override
    async def resolve(self, url: str) -> list[str]:
        key = (url_hostname(url), url_port(url))
        known = self._known.get(key)
        if known and time.monotonic() - known[0] < self._kept_s:
            return known[1]
        loop = asyncio.get_running_loop()
        try:
            entries = await asyncio.wait_for(
                loop.getaddrinfo(*key, type=socket.SOCK_STREAM), self._timeout_s
            )
        except (OSError, TimeoutError, UnicodeError):
            entries = []
        addresses = sorted({str(entry[4][0]) for entry in entries})
        self._known[key] = (time.monotonic(), addresses)
        return addresses
