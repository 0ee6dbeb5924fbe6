from __future__ import annotations

import socket

import pytest

from crawlers.fetching.address_check import (
    ForbiddenAddressError,
    SocketPolicy,
    guarded_sockets,
    socket_policy,
)
from infra.errors import UserError


def policy(*seeds: str) -> SocketPolicy:
    return socket_policy(seeds, [], [])


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
    assert not policy().allows(address, 80)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_global_addresses_are_allowed_on_web_ports_only(address: str) -> None:
    assert policy().allows(address, 443)
    assert not policy().allows(address, 22)
    assert socket_policy([], [], [22]).allows(address, 22)


def test_a_seed_that_names_loopback_opens_that_port_and_nothing_else() -> None:
    opened = policy("http://127.0.0.1:8123/", "https://example.org/")
    assert opened.allows("127.0.0.1", 8123)
    assert not opened.allows("127.0.0.1", 8124)
    assert not opened.allows("127.0.0.2", 8123)


def test_localhost_opens_both_families() -> None:
    assert policy("http://localhost:81/").opened == {("127.0.0.1", 81), ("::1", 81)}


def test_a_private_seed_that_is_not_loopback_opens_nothing() -> None:
    assert policy("http://192.168.0.5/", "http://intranet/").opened == frozenset()


def test_the_operators_list_opens_an_address_and_port() -> None:
    opened = socket_policy([], ["10.0.0.5:8080", "[fc00::1]:80"], [])
    assert opened.allows("10.0.0.5", 8080)
    assert opened.allows("fc00::1", 80)
    assert not opened.allows("10.0.0.5", 80)
    with pytest.raises(UserError, match=r"crawl.allow_addresses"):
        socket_policy([], ["intranet:80"], [])


def test_the_check_sits_at_the_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with guarded_sockets(policy("https://example.org/")):
            with pytest.raises(ForbiddenAddressError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            with socket.socket() as plain, pytest.raises(ForbiddenAddressError):
                plain.connect_ex(("127.0.0.1", port))
        with guarded_sockets(policy(f"http://127.0.0.1:{port}/")):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_name_that_changes_its_address_between_two_requests_reaches_nothing_private(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answers = iter(["127.0.0.1", "10.0.0.1"])

        def changing(*_: object, **__: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

        monkeypatch.setattr(socket, "getaddrinfo", changing)
        with guarded_sockets(policy(f"http://127.0.0.1:{port}/")):
            socket.create_connection(("rebind.example", port), timeout=5).close()
            with pytest.raises(ForbiddenAddressError):
                socket.create_connection(("rebind.example", port), timeout=5)
