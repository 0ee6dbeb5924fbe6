"""URLs in WHATWG form, without fragments and tracking parameters. Two spellings of one URL become
one string.
"""

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
"""URLs of which the parts are remembered: a fetch asks for them some ten times."""
MAX_PATH_SEGMENTS = 16
MAX_REPEATED_SEGMENTS = 3
CALENDAR_YEARS = (1990, 2040)

# Parameters that name a campaign or a click and never a page (the common core of the public lists).
_TRACKING = re.compile(
    r"^(utm_\w+|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|yclid|mc_cid|mc_eid|igshid|_ga|_gl|_hsenc|_hsmi"
    r"|mkt_tok|oly_anon_id|oly_enc_id|vero_id|wickedid|twclid|ttclid|li_fat_id|srsltid|phpsessid|jsessionid|sessionid)$",
    re.IGNORECASE,
)
_suffixes = tldextract.TLDExtract(
    suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True
)
"""The public suffix list as packaged: never fetched, and with the private part, where `a.github.io`
is one site."""


def canonical_url(url: str, base: str | None = None, sort_query: bool = True) -> str | None:
    """The canonical http(s) URL without fragment and credentials, or None for anything else."""
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
    """The query without tracking parameters, its other parameters spelled as they were."""
    parts = [
        part for part in query.split("&") if part and not _TRACKING.match(part.split("=", 1)[0])
    ]
    return "&".join(sorted(parts) if sort else parts)


@lru_cache(maxsize=PARSED_KEPT)
def host_of(url: str) -> str:
    """Host with its port, as the URL spells it; the default port of the scheme is left out."""
    return str(ada_url.URL(url).host)


@lru_cache(maxsize=PARSED_KEPT)
def hostname_of(url: str) -> str:
    """Host without port and without the brackets of an IPv6 address."""
    return str(ada_url.URL(url).hostname).strip("[]")


@lru_cache(maxsize=PARSED_KEPT)
def origin_of(url: str) -> str:
    """Scheme, host and port: what one robots.txt speaks for."""
    return str(ada_url.URL(url).origin)


@lru_cache(maxsize=PARSED_KEPT)
def port_of(url: str) -> int:
    """The port that a connection to the URL goes to."""
    parsed = ada_url.URL(url)
    return int(parsed.port) if parsed.port else {"http:": 80, "https:": 443}[parsed.protocol]


@lru_cache(maxsize=PARSED_KEPT)
def path_of(url: str) -> str:
    """Path and query, as a robots.txt rule sees them."""
    parsed = ada_url.URL(url)
    return str(parsed.pathname) + str(parsed.search)


@lru_cache(maxsize=PARSED_KEPT)
def section_of(url: str) -> str:
    """The first segment of the path where there are several ("" else): what a labeler's taste is
    kept for.
    """
    segments = ada_url.URL(url).pathname.split("/")
    return str(segments[1])[:80] if len(segments) > 2 else ""


@lru_cache(maxsize=65536)
def registrable_domain(host: str) -> str:
    """The registrable domain of a host (public suffix list, private part included).

    Addresses and names without a public suffix, which are somebody's own machines, stand for
    themselves with their port.
    """
    name = host.rsplit(":", 1)[0] if re.search(r":\d+$", host) and not host.endswith("]") else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return str(_suffixes(name).top_domain_under_public_suffix) or host
    return host


def trap_reason(url: str) -> str:
    """Why a URL looks like a trap that has no end ("" where it does not)."""
    if len(url) > MAX_URL_CHARS:
        return "URL too long"
    segments = [s for s in ada_url.URL(url).pathname.split("/") if s]
    if len(segments) > MAX_PATH_SEGMENTS:
        return "path too deep"
    if len(segments) - len(set(segments)) >= MAX_REPEATED_SEGMENTS:
        return "path repeats itself"
    if _is_far_calendar(path_of(url)):
        return "calendar page far from now"
    return ""


def _is_far_calendar(path: str) -> bool:
    """A page for a month or day in a year in which nobody wrote about it."""
    found = re.search(r"(?:^|[/=\-])(\d{4})[/\-](?:0?[1-9]|1[0-2])(?:[/\-&]|$)", path)
    return found is not None and not CALENDAR_YEARS[0] <= int(found.group(1)) <= CALENDAR_YEARS[1]


def require_urls(seeds: Iterable[str], key: str = "crawl.seeds") -> list[str]:
    """Canonical seeds; the first that is no http(s) URL raises `UserError`."""
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
