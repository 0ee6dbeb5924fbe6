"""Canonical URLs (WHATWG, without fragments and tracking parameters) and their parts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

import ada_url
import tldextract

from infra.errors import UserError

BUILTIN = "builtin:"
MAX_URL_CHARS = 2000
PARSED_KEPT = 4096
"""URLs whose parts are cached; one fetch asks for them about ten times."""
MAX_PATH_SEGMENTS = 16
MAX_REPEATED_SEGMENTS = 3
CALENDAR_YEARS = (1990, 2040)

# Query parameters that identify a campaign, a click or a session and never a page (the common core
# of the public lists).
_TRACKING = re.compile(
    r"^(utm_\w+|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|yclid|mc_cid|mc_eid|igshid|_ga|_gl"
    r"|_hsenc|_hsmi|mkt_tok|oly_anon_id|oly_enc_id|vero_id|wickedid|twclid|ttclid|li_fat_id"
    r"|srsltid|phpsessid|jsessionid|sessionid)$",
    re.IGNORECASE,
)
_suffixes = tldextract.TLDExtract(
    suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True
)
"""The public suffix list of the package, never fetched; with its private part, so that
`a.github.io` is a registrable domain."""


def canonical_url(url: str, base: str | None = None, sort_query: bool = True) -> str | None:
    """The canonical form of an http or https URL.

    None for other schemes, for URLs with credentials, and for strings that are not a URL.
    """
    try:
        parsed = ada_url.URL(url.strip(), base=base) if base else ada_url.URL(url.strip())
    except ValueError:
        return None
    if (
        parsed.protocol not in ("http:", "https:")
        or not parsed.hostname
        or parsed.username
        or parsed.password
    ):
        return None
    parsed.hash = ""
    if parsed.search:
        parsed.search = _canonical_query(parsed.search[1:], sort_query)
    return str(parsed.href)


def _canonical_query(query: str, sort: bool) -> str:
    """The query without tracking parameters; the other parameters stay as they are."""
    parts = [
        part for part in query.split("&") if part and not _TRACKING.match(part.split("=", 1)[0])
    ]
    return "&".join(sorted(parts) if sort else parts)


@lru_cache(maxsize=PARSED_KEPT)
def url_host(url: str) -> str:
    """Host and port of a URL; the default port of the scheme is left out."""
    return str(ada_url.URL(url).host)


@lru_cache(maxsize=PARSED_KEPT)
def url_hostname(url: str) -> str:
    """Host of a URL without port and without the brackets of an IPv6 address."""
    return str(ada_url.URL(url).hostname).strip("[]")


@lru_cache(maxsize=PARSED_KEPT)
def url_origin(url: str) -> str:
    """Scheme, host and port of a URL: the part of the web that one robots.txt covers."""
    return str(ada_url.URL(url).origin)


@lru_cache(maxsize=PARSED_KEPT)
def url_port(url: str) -> int:
    """The port of a URL, or the default port of its scheme."""
    parsed = ada_url.URL(url)
    return int(parsed.port) if parsed.port else {"http:": 80, "https:": 443}[parsed.protocol]


@lru_cache(maxsize=PARSED_KEPT)
def url_path(url: str) -> str:
    """Path and query of a URL, which robots.txt rules are matched with."""
    parsed = ada_url.URL(url)
    return str(parsed.pathname) + str(parsed.search)


@lru_cache(maxsize=PARSED_KEPT)
def url_section(url: str) -> str:
    """The first segment of a URL's path, "" if it has fewer than two.

    Judgments are averaged by section to decide what is crawled next.
    """
    segments = ada_url.URL(url).pathname.split("/")
    return str(segments[1])[:80] if len(segments) > 2 else ""


@lru_cache(maxsize=65536)
def registrable_domain(host: str) -> str:
    """The registrable domain of a host (public suffix list with its private part).

    An IP address or a name without a public suffix is returned as it is, with its port.
    """
    name = host.rsplit(":", 1)[0] if re.search(r":\d+$", host) and not host.endswith("]") else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return str(_suffixes(name).top_domain_under_public_suffix) or host
    return host


def trap_reason(url: str) -> str:
    """Why a URL looks like part of a crawler trap, "" if it does not."""
    if len(url) > MAX_URL_CHARS:
        return "URL too long"
    segments = [s for s in ada_url.URL(url).pathname.split("/") if s]
    if len(segments) > MAX_PATH_SEGMENTS:
        return "path too deep"
    if len(segments) - len(set(segments)) >= MAX_REPEATED_SEGMENTS:
        return "path repeats itself"
    if _is_far_calendar(url_path(url)):
        return "calendar page far from now"
    return ""


def _is_far_calendar(path: str) -> bool:
    """Whether a path has a year and month outside `CALENDAR_YEARS`."""
    date = re.search(r"(?:^|[/=\-])(\d{4})[/\-](?:0?[1-9]|1[0-2])(?:[/\-&]|$)", path)
    return date is not None and not CALENDAR_YEARS[0] <= int(date.group(1)) <= CALENDAR_YEARS[1]


def require_urls(seeds: Iterable[str], key: str = "crawl.seeds") -> list[str]:
    """The canonical URLs of seeds.

    Raises:
        UserError: if a seed is not an http or https URL.
    """
    urls = []
    for seed in seeds:
        url = canonical_url(seed)
        if url is None:
            raise UserError(
                key,
                seed,
                "this is not an http or https URL.",
                "Write for example https://example.org/.",
            )
        urls.append(url)
    return urls
