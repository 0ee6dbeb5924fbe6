from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.urls import canonical_url, host_of, port_of, require_urls
from infra.errors import UserError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG:80/a/../b#frag", "http://example.org/b"),
        ("https://example.org", "https://example.org/"),
        ("http://example.org:8080/x", "http://example.org:8080/x"),
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


def test_relative_links_are_resolved() -> None:
    assert canonical_url("../c?x=1#y", "http://h/a/b.html") == "http://h/c?x=1"


@given(st.text())
def test_any_text_gives_a_url_or_none_and_a_url_stays_itself(text: str) -> None:
    url = canonical_url(text, "http://h/")
    assert url is None or canonical_url(url) == url


def test_host_and_port() -> None:
    assert host_of("http://h:8080/x") == "h:8080"
    assert [port_of(u) for u in ("http://h/", "https://h/", "http://h:81/")] == [80, 443, 81]


def test_bad_seed_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"crawl.seeds = 'example'"):
        require_urls(["http://ok.example/", "example"])
