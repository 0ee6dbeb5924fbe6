"""Scrapy as the transport of a crawl session: only its downloader is used.

The session decides what is fetched and when (`crawlers.session.session`). The spider's `start` runs
the session and gives it Scrapy's downloader. A Twisted reactor cannot be started twice, so
`run_spider` can be called once in a process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import scrapy
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.http import Response as ScrapyResponse
from typing_extensions import override

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import (
    FORBIDDEN_ADDRESS,
    ForbiddenAddressError,
    SocketPolicy,
    guarded_sockets,
    is_forbidden_literal,
    was_refused,
)
from crawlers.fetching.transport import Response, SystemResolver, Transport
from crawlers.urls import url_port

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
    """Scrapy's settings for the open web; its defaults are for scraping a known site."""
    return {
        "USER_AGENT": config.full_user_agent,
        "DEFAULT_REQUEST_HEADERS": {
            "Accept": "text/html,application/xhtml+xml,text/plain,application/xml;q=0.9,*/*;q=0.5"
        },
        "DOWNLOADER_MIDDLEWARES": {_MIDDLEWARES + name: None for name in _UNUSED},
        "ROBOTSTXT_OBEY": False,  # the session obeys it (crawlers.session.origin_rules)
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
"""Exception name to reason. An exception and its causes get the reason of the first name in this
order."""


class HeadersTooLargeError(Exception):
    """The headers of a response exceed `MAX_HEADER_BYTES`."""


def cap_headers() -> None:
    """Limit the total size of a response's headers; Twisted 26 limits only the length of a line."""
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
    """An exception and all its causes, also those that Twisted keeps in `reasons`."""
    causes: list[BaseException] = [error]
    for cause in causes:
        inner = [
            cause.__cause__,
            cause.__context__,
            *(getattr(r, "value", None) for r in getattr(cause, "reasons", ())),
        ]
        causes += [e for e in inner if isinstance(e, BaseException) and e not in causes]
    return causes


def failure_reason(error: BaseException) -> str:
    """A short reason for a failed fetch, used in the fetch log and in counts."""
    causes = _causes(error)
    if any(isinstance(e, ForbiddenAddressError) for e in causes):
        return FORBIDDEN_ADDRESS
    names = {type(e).__name__ for e in causes}
    for name, reason in _REASONS.items():
        if name in names:
            return reason
    return type(error).__name__.removesuffix("Error")[:80]


def _read_response(response: ScrapyResponse) -> Response:
    headers: dict[str, list[str]] = {}
    for name, values in list(response.headers.items())[:MAX_HEADERS]:
        headers[name.decode("latin-1").lower()] = [
            v.decode("latin-1")[:MAX_HEADER_CHARS] for v in values[:MAX_HEADERS]
        ]
    address = str(response.ip_address) if response.ip_address else ""
    return Response(response.status, headers, response.body, address)


class ScrapyTransport(Transport):
    """Sends requests with Scrapy's downloader."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._resolver = SystemResolver()

    @override
    async def fetch(self, url: str, headers: Mapping[str, str]) -> Response:
        if not url.startswith(("http://", "https://")):
            return Response(0, failure=NOT_HTTP)
        if is_forbidden_literal(url):
            return Response(0, failure=FORBIDDEN_ADDRESS)
        try:
            request = scrapy.Request(url, headers=dict(headers), dont_filter=True)
            return _read_response(await self._engine.download_async(request))
        except Exception as error:
            refused = was_refused(await self._resolver.resolve(url), url_port(url))
            return Response(0, failure=FORBIDDEN_ADDRESS if refused else failure_reason(error))


Main = Callable[[Transport], Awaitable[None]]


class SessionSpider(scrapy.Spider):  # type: ignore[misc]
    """Runs a session with the engine's downloader; yields no request itself."""

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
        no_requests: list[scrapy.Request] = []
        for request in no_requests:  # Scrapy wants an asynchronous generator
            yield request


def run_spider(config: CrawlConfig, policy: SocketPolicy, main: Main) -> None:
    """Run `main` with Scrapy's downloader; every connection is checked against `policy`.

    Can be called once in a process. Raises what `main` raises.
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
