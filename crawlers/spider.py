"""One Scrapy spider over one batch of leased URLs. It follows nothing: what it finds returns to the frontier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import scrapy
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

from crawlers.config import CrawlConfig
from crawlers.robots import FORBIDDEN
from crawlers.safety import FORBIDDEN_ADDRESS, is_loopback, refused_ports
from crawlers.urls import canonical_url, hostname_of, port_of
from infra.records import now


@dataclass(frozen=True)
class Lease:
    """A URL to fetch, with the validators of its last visit ("" where there are none)."""

    url: str
    host: str
    depth: int
    etag: str
    last_modified: str


@dataclass(frozen=True)
class Fetch:
    """The outcome of one lease: a response, or a failure with its reason. `location` is a redirect's target."""

    url: str
    status: int
    location: str
    content_type: str
    etag: str
    last_modified: str
    fetched_at: datetime
    body: bytes
    failure: str


def scrapy_settings(config: CrawlConfig, url: str) -> dict[str, Any]:
    """Scrapy's settings for one host. Its defaults are made for scraping a known site, not the open web."""
    contact = f" (+{config.contact})" if config.contact else ""
    return {
        "USER_AGENT": f"{config.user_agent}{contact}",
        "ROBOTSTXT_OBEY": True,
        "DOWNLOADER_MIDDLEWARES": {
            "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
            "crawlers.robots.RobotsMiddleware": 100,
        },
        "ROBOTSTXT_USER_AGENT": config.user_agent.split("/")[0],
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "COOKIES_ENABLED": False,
        "REDIRECT_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "HTTPPROXY_ENABLED": False,
        "RETRY_TIMES": 2,
        "DOWNLOAD_MAXSIZE": config.max_body_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_TIMEOUT": config.timeout_s,
        "DOWNLOAD_DELAY": 0.0 if is_loopback(hostname_of(url)) else config.delay_s,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "DOWNLOAD_HANDLERS": {"file": None, "data": None, "ftp": None, "s3": None},
        "HTTPERROR_ALLOW_ALL": True,
        "LOG_LEVEL": "ERROR",
        "LOG_ENABLED": False,
        "DNS_TIMEOUT": 20,
        "EXTENSIONS": {"scrapy.extensions.logstats.LogStats": None},
    }


def failure_reason(error: BaseException, url: str) -> str:
    """A short reason for the log and the counts.

    Download handlers wrap a refused connection each in its own way and some lose its words, so the
    address check is asked itself.
    """
    if str(error) != FORBIDDEN and port_of(url) in refused_ports():
        return FORBIDDEN_ADDRESS
    if isinstance(error, IgnoreRequest):
        return str(error)[:200]
    return f"{type(error).__name__}: {error}"[:200]


def _header(response: Response, name: str) -> str:
    value = response.headers.get(name)
    return value.decode("latin-1")[:500] if value else ""


class BatchSpider(scrapy.Spider):  # type: ignore[misc]
    """Fetches its leases and hands every outcome to `deliver`, exactly one a lease."""

    name = "ratchet"

    def __init__(self, leases: Sequence[Lease], deliver: Callable[[Fetch], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.leases = leases
        self.deliver = deliver

    async def start(self) -> AsyncIterator[Any]:
        """One request a lease, conditional where the last visit left validators."""
        for lease in self.leases:
            headers = {}
            if lease.etag:
                headers["If-None-Match"] = lease.etag
            if lease.last_modified:
                headers["If-Modified-Since"] = lease.last_modified
            yield scrapy.Request(
                lease.url,
                headers=headers,
                callback=self.parse,
                errback=self.failed,
                dont_filter=True,
                cb_kwargs={"url": lease.url},
                meta={"lease_url": lease.url},
            )

    def parse(self, response: Response, url: str) -> None:
        """Hand on a response of any status."""
        location = canonical_url(_header(response, "Location"), response.url) if 300 <= response.status < 400 else None
        self.deliver(
            Fetch(
                url=url,
                status=response.status,
                location=location or "",
                content_type=_header(response, "Content-Type"),
                etag=_header(response, "ETag"),
                last_modified=_header(response, "Last-Modified"),
                fetched_at=now(),
                body=response.body if response.status == 200 else b"",
                failure="",
            )
        )

    def failed(self, failure: Any) -> None:
        """Hand on a request that got no response, with a short reason."""
        url = failure.request.meta["lease_url"]
        self.deliver(Fetch(url, 0, "", "", "", "", now(), b"", failure_reason(failure.value, url)))
