"""What a crawl session asks of the world: fetch, resolve, tell the time. Scrapy is one answer, a
test's another.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from crawlers.urls import hostname_of, port_of


@dataclass(frozen=True)
class Answer:
    """What came back: a response, or a `failure` in a few words with status 0. Header names are
    lower case.
    """

    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    address: str = ""
    failure: str = ""

    def header(self, name: str) -> str:
        """The first value of a header, "" where there is none."""
        return next(iter(self.headers.get(name, [])), "")[:2000]


class Transport(Protocol):
    """Sends one GET request and never raises: what goes wrong is an `Answer` with a failure.
    Follows no redirect.
    """

    async def fetch(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer, within the time and size limits that the transport was made with."""
        ...


class Resolver(Protocol):
    """Names to addresses."""

    async def resolve(self, url: str) -> list[str]:
        """Every address of the URL's host; empty where there is none."""
        ...


class Clock(Protocol):
    """Time, so that a test can make a day pass in a moment."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep_until(self, moment: float) -> None:
        """Return at or after a moment."""
        ...


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        """See `Clock`."""
        return time.time()

    async def sleep_until(self, moment: float) -> None:
        """See `Clock`."""
        while (left := moment - time.time()) > 0:
            await asyncio.sleep(left)


class SystemResolver:
    """The system's resolver with answers kept for a while, as the clock of an address needs them
    each time.
    """

    def __init__(self, kept_s: float = 300.0, timeout_s: float = 20.0) -> None:
        self._kept_s = kept_s
        self._timeout_s = timeout_s
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def resolve(self, url: str) -> list[str]:
        """See `Resolver`."""
        key = (hostname_of(url), port_of(url))
        known = self._known.get(key)
        if known and time.monotonic() - known[0] < self._kept_s:
            return known[1]
        loop = asyncio.get_running_loop()
        try:
            found = await asyncio.wait_for(
                loop.getaddrinfo(*key, type=socket.SOCK_STREAM), self._timeout_s
            )
        except (OSError, TimeoutError, UnicodeError):
            found = []
        addresses = sorted({str(entry[4][0]) for entry in found})
        self._known[key] = (time.monotonic(), addresses)
        return addresses
