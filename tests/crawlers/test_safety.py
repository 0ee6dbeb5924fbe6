from __future__ import annotations

import socket

import pytest

from crawlers.safety import ForbiddenAddressError, guarded_sockets, is_allowed, opened_addresses

NOTHING: frozenset[tuple[str, int]] = frozenset()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:0001::",
        "64:ff9b::7f00:1",
        "not an address",
    ],
)
def test_private_addresses_are_refused_in_every_spelling(address: str) -> None:
    assert not is_allowed(address, 80, NOTHING)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_global_addresses_are_allowed_on_web_ports_only(address: str) -> None:
    assert is_allowed(address, 443, NOTHING)
    assert not is_allowed(address, 22, NOTHING)


def test_a_seed_that_names_loopback_opens_that_port_and_nothing_else() -> None:
    opened = opened_addresses(["http://127.0.0.1:8123/", "https://example.org/"])
    assert is_allowed("127.0.0.1", 8123, opened)
    assert not is_allowed("127.0.0.1", 8124, opened)
    assert not is_allowed("127.0.0.2", 8123, opened)


def test_localhost_opens_both_families() -> None:
    assert opened_addresses(["http://localhost:81/"]) == {("127.0.0.1", 81), ("::1", 81)}


def test_a_private_seed_that_is_not_loopback_opens_nothing() -> None:
    assert opened_addresses(["http://192.168.0.5/", "http://intranet/"]) == NOTHING


def test_the_check_sits_at_the_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with guarded_sockets(["https://example.org/"]):
            with pytest.raises(ForbiddenAddressError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            with socket.socket() as plain, pytest.raises(ForbiddenAddressError):
                plain.connect_ex(("127.0.0.1", port))
        with guarded_sockets([f"http://127.0.0.1:{port}/"]):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
