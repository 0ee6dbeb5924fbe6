"""Scrapy as our transport against servers that mean harm: every refusal has a reason, memory stays
bounded."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import brotli
import pytest
import zstandard

from crawlers.fetching.address_check import FORBIDDEN_ADDRESS
from tests.crawlers.support.fetching_tasks import fetch

pytestmark = pytest.mark.timeout(1200)
LIMIT = 2**20
BOMB = b"\0" * (200 * 2**20)
MEMORY = 250 * 2**20
"""A process with Scrapy takes some 100 MB; a bomb that is unpacked takes 200 more for each copy."""

Writer = Callable[[Callable[[bytes], object]], None]


def head(*lines: str, status: str = "200 OK") -> bytes:
    return (
        "HTTP/1.1 " + status + "\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n"
    ).encode("latin-1")


def whole(body: bytes, *lines: str) -> Writer:
    return lambda send: send(head(f"Content-Length: {len(body)}", *lines) + body) and None


def drip(send: Callable[[bytes], object]) -> None:
    send(head("Content-Type: text/html", "Content-Length: 100000"))
    while True:
        send(b"x")
        time.sleep(0.2)


def drip_head(send: Callable[[bytes], object]) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    while True:
        send(b"X-Slow: 1\r\n")
        time.sleep(0.2)


def endless(send: Callable[[bytes], object]) -> None:
    send(head("Content-Type: text/html", "Connection: close"))
    while True:
        send(b"y" * 65536)


def header_flood(send: Callable[[bytes], object]) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    for i in range(2_000_000):
        send(b"X-%d: %s\r\n" % (i, b"z" * 100))


SERVED: dict[str, Writer] = {
    "good": whole(b"<p>good</p>", "Content-Type: text/html"),
    "lying-length": lambda send: send(head("Content-Length: 5000") + b"short") and None,
    "truncated-chunk": lambda send: (
        send(head("Transfer-Encoding: chunked") + b"100\r\nonly this") and None
    ),
    "bad-chunk": lambda send: (
        send(head("Transfer-Encoding: chunked") + b"zz\r\nbody\r\n0\r\n\r\n") and None
    ),
    "not-http": lambda send: send(b"SSH-2.0-OpenSSH_9.6\r\n") and None,
    "nothing": lambda send: None,
    "drip": drip,
    "drip-head": drip_head,
    "endless": endless,
    "header-flood": header_flood,
    "long-header": lambda send: (
        send(b"HTTP/1.1 200 OK\r\nX: " + b"h" * 20_000_000 + b"\r\n\r\n") and None
    ),
    "too-large": whole(b"x" * (2 * LIMIT)),
    "claims-too-much": lambda send: send(head("Content-Length: 999999999999")) and None,
    "gzip-bomb": whole(gzip.compress(BOMB), "Content-Encoding: gzip"),
    "deflate-bomb": whole(zlib.compress(BOMB), "Content-Encoding: deflate"),
    "br-bomb": whole(brotli.compress(BOMB, quality=1), "Content-Encoding: br"),
    "zstd-bomb": whole(zstandard.compress(BOMB), "Content-Encoding: zstd"),
    "double-gzip": whole(gzip.compress(gzip.compress(BOMB)), "Content-Encoding: gzip, gzip"),
    "broken-gzip": whole(b"\x1f\x8b\x08garbage", "Content-Encoding: gzip"),
    "gzip": whole(gzip.compress(b"<p>packed</p>"), "Content-Encoding: gzip"),
    "br": whole(brotli.compress(b"<p>packed</p>"), "Content-Encoding: br"),
    "zstd": whole(zstandard.compress(b"<p>packed</p>"), "Content-Encoding: zstd"),
    "cookies": whole(b"x", "Set-Cookie: a=b", "Content-Type: text/html"),
    "redirect": lambda send: (
        send(head("Location: http://169.254.169.254/latest/", status="302 Found")) and None
    ),
    "nul-in-header": whole(b"x", "X-Odd: a\0b"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        asked = connection.recv(65536).decode("latin-1")
        name = asked.split(" ")[1].lstrip("/") if " " in asked else ""
        SERVED.get(name, SERVED["nothing"])(connection.sendall)


@pytest.fixture(scope="module")
def outcomes(server: str) -> dict[str, dict[str, object]]:
    """One process asks for everything, one after another, and then for a good page again."""
    names = [*SERVED, "good"]
    fetched = fetch(
        [server + name for name in names], timeout=900, timeout_s=5.0, max_body_bytes=LIMIT
    )
    assert fetched.peak_bytes < MEMORY, "memory stays bounded"
    return dict(zip([*SERVED, "good again"], fetched.answers, strict=True))


@pytest.mark.parametrize(
    ("name", "failures"),
    [
        ("lying-length", {"body cut off"}),
        ("truncated-chunk", {"body cut off"}),
        ("bad-chunk", {"body cut off"}),
        ("not-http", {"malformed response"}),
        ("nothing", {"connection closed"}),
        ("drip", {"timed out"}),
        ("drip-head", {"timed out"}),
        ("endless", {"body too large"}),
        ("header-flood", {"headers too large"}),
        ("long-header", {"headers too large", "connection closed"}),
        ("too-large", {"body too large"}),
        ("claims-too-much", {"body too large"}),
        ("gzip-bomb", {"body too large"}),
        ("deflate-bomb", {"body too large"}),
        ("br-bomb", {"body too large"}),
        ("zstd-bomb", {"body too large"}),
    ],
)
def test_what_does_harm_is_refused_with_a_reason(
    outcomes: dict[str, dict[str, object]], name: str, failures: set[str]
) -> None:
    assert outcomes[name]["failure"] in failures
    assert outcomes[name]["status"] == 0
    assert outcomes[name]["body"] == b""


def test_odd_answers_are_bounded_and_the_crawl_goes_on(
    outcomes: dict[str, dict[str, object]],
) -> None:
    assert outcomes["double-gzip"]["failure"] == "body too large"
    assert outcomes["broken-gzip"]["failure"] == "broken content encoding"
    assert outcomes["good again"]["body"] == b"<p>good</p>"
    for name in ("gzip", "br", "zstd"):
        assert outcomes[name]["body"] == b"<p>packed</p>"


def test_redirects_are_handed_on_and_not_followed(outcomes: dict[str, dict[str, object]]) -> None:
    assert outcomes["redirect"]["status"] == 302
    assert outcomes["redirect"]["headers"]["location"] == ["http://169.254.169.254/latest/"]  # type: ignore[index]


def test_private_addresses_are_refused_at_the_socket_by_name_and_by_number(server: str) -> None:
    other = server.replace("127.0.0.1", "localhost")
    urls = [
        server + "good",
        "http://127.0.0.1:1/",
        other.replace("localhost", "127.0.0.2") + "good",
        "http://[::1]:1/",
        "http://0.0.0.0:1/",
        "http://2130706433:1/",
        "http://[::ffff:127.0.0.1]:1/",
    ]
    good, *refused = fetch(urls, timeout_s=10.0).answers
    assert good["status"] == 200
    assert [a["failure"] for a in refused] == [FORBIDDEN_ADDRESS] * len(refused)


def test_a_refused_address_says_nothing_about_another_on_its_port(server: str) -> None:
    """The first is refused by its name's address, the second is open and nobody listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    urls = [server + "good", f"http://localhost:{port}/", f"http://127.0.0.2:{port}/"]
    _, forbidden, silent = fetch(
        urls, timeout_s=10.0, allow_addresses=[f"127.0.0.2:{port}"]
    ).answers
    assert forbidden["failure"] == FORBIDDEN_ADDRESS
    assert silent["failure"] == "connection refused"


def test_other_schemes_are_not_fetched(server: str) -> None:
    urls = [
        server + "good",
        "file:///etc/passwd",
        "data:text/html,x",
        "ftp://127.0.0.1/x",
        "s3://bucket/x",
    ]
    _, *others = fetch(urls, timeout_s=10.0).answers
    assert all(a["status"] == 0 and a["failure"] for a in others)
