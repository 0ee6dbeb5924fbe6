"""Checks the address of every connection: a crawl may reach only global addresses and those that
the operator allowed.

A redirect or a host name can lead to a private address (server-side request forgery). The check is
a CPython audit hook on `socket.connect`. It sees every connection of the process after names are
resolved, whichever library opens it.
"""

from __future__ import annotations

import errno
import ipaddress
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from crawlers.urls import url_hostname, url_port
from infra.errors import UserError

Address = tuple[str, int]
_PORTS = frozenset({80, 443})
FORBIDDEN_ADDRESS = "forbidden address"
_policies: list[SocketPolicy] = []
_refused: set[Address] = set()
_installed = False


@dataclass(frozen=True)
class SocketPolicy:
    """What a process may connect to: the `opened` addresses, and global addresses on `ports`."""

    opened: frozenset[Address]
    ports: frozenset[int]

    def allows(self, host: str, port: int) -> bool:
        """Whether a crawl may connect to a resolved address and port."""
        if (host, port) in self.opened:
            return True
        try:
            address = unwrap(ipaddress.ip_address(host.split("%")[0]))
        except ValueError:
            return False
        return address.is_global and not address.is_multicast and port in self.ports


class ForbiddenAddressError(OSError):
    """A connection to an address that a crawl must not reach."""


def is_loopback(hostname: str) -> bool:
    """Whether a host name or address means this machine; nothing is resolved."""
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


def unwrap(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside a mapped, 6to4 or NAT64 address; other addresses unchanged."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address.sixtofour:
            return address.sixtofour
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def socket_policy(
    seeds: Sequence[str], allow_addresses: Sequence[str], allow_ports: Sequence[int]
) -> SocketPolicy:
    """The policy of a crawl: ports 80, 443 and `allow_ports`, and the addresses `allow_addresses`.

    A loopback seed opens its own host and port and nothing else.
    """
    opened: set[Address] = set()
    for seed in seeds:
        name, port = url_hostname(seed), url_port(seed)
        if is_loopback(name):
            literals = [name] if name[0].isdigit() or ":" in name else ["127.0.0.1", "::1"]
            opened.update((literal, port) for literal in literals)
    for text in allow_addresses:
        host, _, number = text.rpartition(":")
        try:
            opened.add((str(ipaddress.ip_address(host.strip("[]"))), int(number)))
        except ValueError:
            raise UserError(
                "crawl.allow_addresses",
                text,
                "this is not an address and port.",
                "Write for example 10.0.0.5:8080.",
            ) from None
    return SocketPolicy(frozenset(opened), _PORTS | frozenset(allow_ports))


def is_forbidden_literal(url: str) -> bool:
    """Whether a URL's host is an IP address that the current policy forbids."""
    host = url_hostname(url)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return bool(_policies) and not _policies[-1].allows(host, url_port(url))


def was_refused(addresses: Sequence[str], port: int) -> bool:
    """Whether this check has refused a connection to one of these addresses.

    The exception alone does not tell: some download handlers lose its type and message.
    """
    return any((address, port) in _refused for address in addresses)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or not _policies:
        return
    address = arguments[1]
    if not isinstance(address, tuple):
        return  # a Unix socket
    if not _policies[-1].allows(str(address[0]), int(address[1])):
        _refused.add((str(address[0]), int(address[1])))
        raise ForbiddenAddressError(errno.EACCES, f"{FORBIDDEN_ADDRESS} {address[0]}:{address[1]}")


@contextmanager
def guarded_sockets(policy: SocketPolicy) -> Iterator[None]:
    """Check every connection of this process inside the block.

    An audit hook cannot be removed; outside the block it allows everything.
    """
    global _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    _refused.clear()
    _policies.append(policy)
    try:
        yield
    finally:
        _policies.pop()
