"""Scrapy's robots.txt middleware, mended where it lets requests through (Scrapy 2.19).

Requests that come while robots.txt is still being fetched wait on one Deferred, of which only the
first gets the parser; the others get None and are sent. And a robots.txt that cannot be read allows
everything there, where RFC 9309 (2.3.1.4) says that nothing may be fetched.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Request, Response
from scrapy.utils.httpobj import urlparse_cached

FORBIDDEN = "forbidden by robots.txt"
UNREADABLE = "robots.txt could not be read"


class RobotsMiddleware(RobotsTxtMiddleware):  # type: ignore[misc]
    """One fetch of robots.txt a host and batch; every request waits for it and obeys it."""

    def __init__(self, crawler: Any) -> None:
        super().__init__(crawler)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unreadable: dict[str, str] = {}

    async def robot_parser(self, request: Request) -> Any:
        """Return the parser of the request's host, once it is there."""
        netloc = urlparse_cached(request).netloc
        async with self._locks[netloc]:
            parser = await super().robot_parser(request)
        if netloc in self._unreadable:
            raise IgnoreRequest(f"{UNREADABLE}: {self._unreadable[netloc]}")
        return parser

    def process_request_2(self, rp: Any, request: Request) -> None:
        """Raise `IgnoreRequest` with our words where robots.txt forbids the request."""
        try:
            super().process_request_2(rp, request)
        except IgnoreRequest:
            raise IgnoreRequest(FORBIDDEN) from None

    async def _parse_robots(self, response: Response, netloc: str, request: Request) -> None:
        if response.status == 429 or response.status >= 500:
            raise ConnectionError(f"HTTP {response.status}")
        if response.status >= 400:
            response = response.replace(body=b"")  # unavailable: everything is allowed, an error page says nothing
        await super()._parse_robots(response, netloc, request)

    def _robots_error(self, exc: Exception, netloc: str) -> None:
        self._unreadable[netloc] = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        super()._robots_error(exc, netloc)
