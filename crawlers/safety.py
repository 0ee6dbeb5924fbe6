"""The address check at the socket: a crawl talks to global addresses and to what the operator named.

A page can redirect, or a name can resolve, to a private address (server-side request forgery). The
check is a CPython audit hook on `socket.connect`, so that it sees every connection that the process
makes whichever library opens it, after names are resolved: pages, redirects and robots.txt alike.
"""

from __future__ import annotations

import errno
import ipaddress
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crawlers.urls import hostname_of, port_of

Address = tuple[str, int]
_PORTS = frozenset({80, 443})
FORBIDDEN_ADDRESS = "forbidden address"
_policies: list[frozenset[Address]] = []
_refused: set[Address] = set()
_installed = False


class ForbiddenAddressError(OSError):
    """A connection to an address that a crawl must not reach."""


def is_loopback(hostname: str) -> bool:
    """Whether a host name stands for this machine by its spelling alone."""
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


def unwrap(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside a mapped, 6to4 or NAT64 address; any other address unchanged."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address.sixtofour:
            return address.sixtofour
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def opened_addresses(seeds: Sequence[str]) -> frozenset[Address]:
    """Addresses that seeds open by naming loopback outright: that host and port, nothing beside it."""
    opened: set[Address] = set()
    for seed in seeds:
        name, port = hostname_of(seed), port_of(seed)
        if is_loopback(name):
            literals = [name] if name[0].isdigit() or ":" in name else ["127.0.0.1", "::1"]
            opened.update((literal, port) for literal in literals)
    return frozenset(opened)


def is_allowed(host: str, port: int, opened: frozenset[Address]) -> bool:
    """Whether a crawl may connect to a resolved address and port."""
    if (host, port) in opened:
        return True
    try:
        address = unwrap(ipaddress.ip_address(host.split("%")[0]))
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and port in _PORTS


def refused_ports() -> set[int]:
    """Ports of addresses that were refused since the guard went up."""
    return {port for _, port in _refused}


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or not _policies:
        return
    address = arguments[1]
    if not isinstance(address, tuple):
        return  # a Unix socket of this process's own making
    if not is_allowed(str(address[0]), int(address[1]), _policies[-1]):
        _refused.add((str(address[0]), int(address[1])))
        raise ForbiddenAddressError(errno.EACCES, f"{FORBIDDEN_ADDRESS} {address[0]}:{address[1]}")


@contextmanager
def guarded_sockets(seeds: Sequence[str]) -> Iterator[None]:
    """Check every connection of this process inside the block.

    An audit hook cannot be taken out again (that is its strength); outside the block it lets all pass.
    """
    global _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    _refused.clear()
    _policies.append(opened_addresses(seeds))
    try:
        yield
    finally:
        _policies.pop()
