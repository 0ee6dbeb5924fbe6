from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.extract import decode, extract, tidy

PAGE = b"""<!doctype html><html><head><title>A &amp; B</title></head><body>
<nav><a href="/menu">menu</a></nav>
<h1>Title</h1><p>First paragraph of the page, with enough words in it to count as text.</p>
<pre>&gt;&gt;&gt; for i in range(2):
...     print(i)
0
1</pre>
<p>See <a href="next.html#part">next</a>, <a href="next.html">again</a>,
<a rel="nofollow" href="no.html">no</a> and <a href="mailto:x@y.z">mail</a>.</p>
<script>evil()</script></body></html>"""


def test_code_keeps_its_lines_and_indentation() -> None:
    text = extract(PAGE, "text/html", "http://h/a/").text
    assert ">>> for i in range(2):\n...     print(i)\n0\n1" in text


def test_links_are_absolute_unique_and_obey_nofollow() -> None:
    links = extract(PAGE, "text/html", "http://h/a/").links
    assert links == ("http://h/menu", "http://h/a/next.html")


def test_base_element_moves_relative_links() -> None:
    page = b'<html><head><base href="/x/"></head><body><a href="y">y</a></body></html>'
    assert extract(page, "text/html", "http://h/a/").links == ("http://h/x/y",)


def test_title_is_unescaped_and_scripts_are_no_text() -> None:
    page = extract(PAGE, "text/html", "http://h/")
    assert page.title == "A & B"
    assert "evil" not in page.text


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ("é".encode("latin-1"), "text/html; charset=latin-1", "é"),
        ("é".encode(), "text/html; charset=utf-8", "é"),
        ("é".encode(), "text/html; charset=no-such", "é"),
        ("é".encode(), "text/html; charset=ascii", "é"),
    ],
)
def test_wrong_charsets_do_not_lose_the_text(body: bytes, content_type: str, expected: str) -> None:
    assert decode(body, content_type) == expected


def test_tidy_makes_plain_spaces_and_single_empty_lines() -> None:
    assert tidy("a\u00a0b  \n\n\n\nc\r\n\0") == "a b\n\nc\n\ufffd"


@given(st.binary(max_size=400), st.text(max_size=40))
def test_any_bytes_give_a_document(body: bytes, content_type: str) -> None:
    extract(body, content_type, "http://h/")
    extract(b"<html><body><a href='" + body + b"'>", content_type, "http://h/")
