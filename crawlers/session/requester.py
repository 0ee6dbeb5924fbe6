"""Sends one request at the time that politeness allows, and writes it to the fetch log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import is_loopback
from crawlers.fetching.politeness import delay_after, retry_after
from crawlers.fetching.transport import Clock, Resolver, Response, Transport
from crawlers.session.outbox import Addresses, Outbox
from crawlers.urls import url_host, url_hostname
from infra.records import Request, content_key


@dataclass
class HostClock:
    """When the next request to a host may be sent, and the delays that this follows from."""

    next_at: float
    crawl_delay_s: float = 0.0
    delay_s: float = 0.0


def configured_delay(url: str, config: CrawlConfig) -> tuple[bool, float]:
    """(whether the URL's host is loopback or the operator's own, its configured delay)."""
    own = is_loopback(url_hostname(url)) or url_host(url) in config.own_hosts
    return own, config.own_delay_s if own else config.delay_s


class Requester:
    """Sends requests for one worker in one generation."""

    def __init__(
        self,
        worker: int,
        generation: int,
        config: CrawlConfig,
        transport: Transport,
        resolver: Resolver,
        clock: Clock,
        addresses: Addresses,
        outbox: Outbox,
    ) -> None:
        self._worker = worker
        self._generation = generation
        self._config = config
        self._transport = transport
        self._resolver = resolver
        self._clock = clock
        self._addresses = addresses
        self._outbox = outbox

    async def send(
        self,
        url: str,
        kind: str,
        host: str,
        domain: str,
        host_clock: HostClock,
        headers: dict[str, str],
    ) -> Response:
        """Wait until the clocks of the host and of its addresses allow it, then fetch a URL.

        Updates `host_clock` and adds the request to the fetch log.
        """
        own, configured = configured_delay(url, self._config)
        await self._clock.sleep_until(host_clock.next_at)
        addresses = [] if own else await self._resolver.resolve(url)
        if addresses:
            moment = await asyncio.to_thread(self._addresses.reserve, addresses, self._clock.time())
            await self._clock.sleep_until(moment)
        started = self._clock.time()
        response = await self._transport.fetch(url, headers)
        ended = self._clock.time()
        back_off = retry_after(response.status, response.header("retry-after"), ended)
        host_clock.delay_s = delay_after(configured, host_clock.crawl_delay_s, ended - started, own)
        host_clock.next_at = ended + max(host_clock.delay_s, back_off)
        self._outbox.rows.requests.append(
            Request(
                request_id=content_key(self._worker, self._generation, url, repr(started)),
                generation=self._generation,
                worker=self._worker,
                host=host,
                domain=domain,
                address=response.address or next(iter(addresses), ""),
                url=url,
                kind=kind,
                started_at=started,
                ended_at=ended,
                status=response.status,
                num_bytes=len(response.body),
                configured_delay_s=configured,
                crawl_delay_s=host_clock.crawl_delay_s,
                own=own,
                retry_after_s=back_off,
                failure=response.failure,
            )
        )
        return response
