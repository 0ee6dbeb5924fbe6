"""URLs in WHATWG form, without fragments. Two spellings of one URL become one string."""

from __future__ import annotations

from collections.abc import Iterable

import ada_url

from infra.errors import UserError

BUILTIN = "builtin:"


def canonical_url(url: str, base: str | None = None) -> str | None:
    """The canonical http(s) URL without fragment and credentials, or None for anything else."""
    try:
        parsed = ada_url.URL(url.strip(), base=base) if base else ada_url.URL(url.strip())
    except ValueError:
        return None
    if parsed.protocol not in ("http:", "https:") or not parsed.hostname or parsed.username or parsed.password:
        return None
    parsed.hash = ""
    return str(parsed.href)


def host_of(url: str) -> str:
    """Host with its port, as the URL spells it; the default port of the scheme is left out."""
    return str(ada_url.URL(url).host)


def hostname_of(url: str) -> str:
    """Host without port and without the brackets of an IPv6 address."""
    return str(ada_url.URL(url).hostname).strip("[]")


def port_of(url: str) -> int:
    """The port that a connection to the URL goes to."""
    parsed = ada_url.URL(url)
    return int(parsed.port) if parsed.port else {"http:": 80, "https:": 443}[parsed.protocol]


def require_urls(seeds: Iterable[str], key: str = "crawl.seeds") -> list[str]:
    """Canonical seeds; the first that is no http(s) URL raises `UserError`."""
    urls = []
    for seed in seeds:
        url = canonical_url(seed)
        if url is None:
            raise UserError(key, seed, "this is not an http or https URL.", "Write for example https://example.org/.")
        urls.append(url)
    return urls
