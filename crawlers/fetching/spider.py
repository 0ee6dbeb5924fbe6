"""Scrapy as the transport of a crawl session: its downloader fetches, its scheduler and scraper
stay idle.

A session decides what is fetched and when (`crawlers.fetching.session`), so the spider's `start`
runs it and hands it the engine's downloader. A Twisted reactor cannot be started twice: one call of
`crawl` a process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import scrapy
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.http import Response

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import (
    FORBIDDEN_ADDRESS,
    ForbiddenAddressError,
    SocketPolicy,
    guarded_sockets,
    is_forbidden_literal,
    was_refused,
)
from crawlers.fetching.transport import Answer, SystemResolver, Transport
from crawlers.urls import port_of

MAX_HEADERS = 100
NOT_HTTP = "neither http nor https"
MAX_HEADER_CHARS = 8192
MAX_HEADER_BYTES = 256 * 1024
_MIDDLEWARES = "scrapy.downloadermiddlewares."
_UNUSED = (
    "offsite.OffsiteMiddleware",
    "robotstxt.RobotsTxtMiddleware",
    "httpauth.HttpAuthMiddleware",
    "retry.RetryMiddleware",
    "redirect.MetaRefreshMiddleware",
    "redirect.RedirectMiddleware",
    "cookies.CookiesMiddleware",
    "httpproxy.HttpProxyMiddleware",
    "stats.DownloaderStats",
)


def scrapy_settings(config: CrawlConfig) -> dict[str, Any]:
    """Scrapy's settings. Its defaults are made for scraping a known site, not the open web."""
    return {
        "USER_AGENT": config.full_user_agent,
        "DEFAULT_REQUEST_HEADERS": {
            "Accept": "text/html,application/xhtml+xml,text/plain,application/xml;q=0.9,*/*;q=0.5"
        },
        "DOWNLOADER_MIDDLEWARES": {_MIDDLEWARES + name: None for name in _UNUSED},
        "ROBOTSTXT_OBEY": False,  # crawlers.permission.robots does
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "COOKIES_ENABLED": False,
        "DOWNLOAD_MAXSIZE": config.max_body_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_TIMEOUT": config.timeout_s,
        "DOWNLOAD_DELAY": 0.0,
        "DOWNLOAD_FAIL_ON_DATALOSS": True,
        "CONCURRENT_REQUESTS": config.max_hosts + 16,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "DOWNLOAD_HANDLERS": {"file": None, "data": None, "ftp": None, "s3": None},
        "DNS_TIMEOUT": 20,
        "LOG_ENABLED": False,
        "STATS_DUMP": False,
        "EXTENSIONS": {
            "scrapy.extensions.logstats.LogStats": None,
            "scrapy.extensions.memusage.MemoryUsage": None,
        },
    }


_REASONS = {
    "HeadersTooLargeError": "headers too large",
    "DownloadTimeoutError": "timed out",
    "CannotResolveHostError": "host not found",
    "DownloadConnectionRefusedError": "connection refused",
    "ResponseDataLossError": "body cut off",
    "ParseError": "malformed response",
    "BadResponseVersion": "malformed response",
    "DownloadCancelledError": "body too large",
    "IgnoreRequest": "body too large",
    "EOFError": "broken content encoding",
    "BadGzipFile": "broken content encoding",
    "ZstdError": "broken content encoding",
    "ResponseNeverReceived": "connection closed",
    "ResponseFailed": "connection closed",
    "ConnectionLost": "connection closed",
    "DownloadFailedError": "connection failed",
}
"""Reasons by the name of the first error in this order that a failure is, or was raised from."""


class HeadersTooLargeError(Exception):
    """A response's headers pass their limit."""


def cap_headers() -> None:
    """Limit the headers of a response as a whole: Twisted 26 limits a line and takes as many as
    come.
    """
    from twisted.web import _newclient

    parser_class: Any = _newclient.HTTPClientParser
    if hasattr(parser_class, "header_bytes"):
        return
    receive = parser_class.dataReceived

    def receive_counted(parser: Any, data: bytes) -> None:
        if parser.state in ("STATUS", "HEADER"):
            parser.header_bytes += len(data)
            if parser.header_bytes > MAX_HEADER_BYTES:
                raise HeadersTooLargeError
        receive(parser, data)

    parser_class.header_bytes = 0
    parser_class.dataReceived = receive_counted


def _causes(error: BaseException) -> list[BaseException]:
    """An error with everything that it was raised from, also what Twisted keeps in `reasons`."""
    found: list[BaseException] = [error]
    for one in found:
        inner = [
            one.__cause__,
            one.__context__,
            *(getattr(r, "value", None) for r in getattr(one, "reasons", ())),
        ]
        found += [e for e in inner if isinstance(e, BaseException) and e not in found]
    return found


def failure_reason(error: BaseException) -> str:
    """A short reason for the fetch log and the counts."""
    causes = _causes(error)
    if any(isinstance(e, ForbiddenAddressError) for e in causes):
        return FORBIDDEN_ADDRESS
    names = {type(e).__name__ for e in causes}
    for name, reason in _REASONS.items():
        if name in names:
            return reason
    return type(error).__name__.removesuffix("Error")[:80]


def _answer(response: Response) -> Answer:
    headers: dict[str, list[str]] = {}
    for name, values in list(response.headers.items())[:MAX_HEADERS]:
        headers[name.decode("latin-1").lower()] = [
            v.decode("latin-1")[:MAX_HEADER_CHARS] for v in values[:MAX_HEADERS]
        ]
    address = str(response.ip_address) if response.ip_address else ""
    return Answer(response.status, headers, response.body, address)


class ScrapyTransport:
    """See `crawlers.fetching.transport.Transport`."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._resolver = SystemResolver()

    async def fetch(self, url: str, headers: Mapping[str, str]) -> Answer:
        """See `crawlers.fetching.transport.Transport`."""
        if not url.startswith(("http://", "https://")):
            return Answer(0, failure=NOT_HTTP)
        if is_forbidden_literal(url):
            return Answer(0, failure=FORBIDDEN_ADDRESS)
        try:
            request = scrapy.Request(url, headers=dict(headers), dont_filter=True)
            return _answer(await self._engine.download_async(request))
        except Exception as error:
            refused = was_refused(await self._resolver.resolve(url), port_of(url))
            return Answer(0, failure=FORBIDDEN_ADDRESS if refused else failure_reason(error))


Main = Callable[[Transport], Awaitable[None]]


class SessionSpider(scrapy.Spider):  # type: ignore[misc]
    """Yields no request: it lends its engine to a session and ends with it."""

    name = "ratchet"

    def __init__(self, main: Main, errors: list[BaseException], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._main = main
        self._errors = errors

    async def start(self) -> AsyncIterator[Any]:
        """Run the session."""
        try:
            await self._main(ScrapyTransport(self.crawler.engine))
        except BaseException as error:
            self._errors.append(error)
        nothing: list[scrapy.Request] = []
        for request in nothing:
            yield request


def crawl(config: CrawlConfig, policy: SocketPolicy, main: Main) -> None:
    """Run `main` with Scrapy's downloader, every connection checked; once a process. Raises what
    `main` raises.
    """
    errors: list[BaseException] = []
    settings = scrapy_settings(config) | {"LOG_INSTALL_ROOT_HANDLER": False}
    process = AsyncCrawlerProcess(settings)
    process.crawl(SessionSpider, main=main, errors=errors)
    cap_headers()
    with guarded_sockets(policy):
        process.start(install_signal_handlers=False)
    if errors:
        raise errors[0]
