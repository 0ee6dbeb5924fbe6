from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.urls import (
    canonical_url,
    registrable_domain,
    require_urls,
    trap_reason,
    url_host,
    url_port,
    url_section,
)
from infra.errors import UserError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG:80/a/../b#frag", "http://example.org/b"),
        ("https://example.org", "https://example.org/"),
        ("http://example.org:8080/x", "http://example.org:8080/x"),
        ("http://h/?b=2&a=1&utm_source=x&fbclid=y", "http://h/?a=1&b=2"),
        ("http://h/?utm_source=x", "http://h/"),
        ("http://h/?a=%20&A=1&a", "http://h/?A=1&a&a=%20"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("mailto:a@b.c", None),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("http://user:secret@example.org/", None),
        ("not a url", None),
        ("", None),
    ],
)
def test_canonical_form(url: str, expected: str | None) -> None:
    assert canonical_url(url) == expected


def test_the_query_is_sorted_by_policy_only() -> None:
    assert canonical_url("http://h/?b=2&a=1", sort_query=False) == "http://h/?b=2&a=1"


def test_relative_links_are_resolved() -> None:
    assert canonical_url("../c?x=1#y", "http://h/a/b.html") == "http://h/c?x=1"


@given(st.text())
def test_any_text_gives_a_url_or_none_and_a_url_stays_itself(text: str) -> None:
    url = canonical_url(text, "http://h/")
    assert url is None or canonical_url(url) == url


def test_host_port_and_section() -> None:
    assert url_host("http://h:8080/x") == "h:8080"
    assert [url_port(u) for u in ("http://h/", "https://h/", "http://h:81/")] == [80, 443, 81]
    assert [
        url_section(u) for u in ("http://h/", "http://h/a", "http://h/a/b", "http://h/a/b/c?d")
    ] == [
        "",
        "",
        "a",
        "a",
    ]


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.example.co.uk", "example.co.uk"),
        ("a.b.example.org:8080", "example.org"),
        ("me.github.io", "me.github.io"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("[::1]:80", "[::1]:80"),
        ("localhost:9", "localhost:9"),
        ("intranet", "intranet"),
    ],
)
def test_registrable_domain(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://h/a/b/c", ""),
        ("http://h/" + "x" * 3000, "URL too long"),
        ("http://h/" + "/".join(str(i) for i in range(30)), "path too deep"),
        ("http://h/a/b/a/b/a/b", "path repeats itself"),
        ("http://h/calendar/2024/05/", ""),
        ("http://h/calendar/2199/05/", "calendar page far from now"),
        ("http://h/cal?date=0001-12-24", "calendar page far from now"),
        ("http://h/rfc/9309/", ""),
    ],
)
def test_traps(url: str, reason: str) -> None:
    assert trap_reason(url) == reason


def test_bad_seed_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"crawl.seeds = 'example'"):
        require_urls(["http://ok.example/", "example"])
