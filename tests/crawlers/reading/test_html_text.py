from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.reading.html_text import decode, detect_language, tidy
from crawlers.reading.parse_body import LARGE_DISAGREEMENT, parse_body
from crawlers.reading.parsed_body import ParsedBody, ParseTask

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

PARAGRAPHS = [
    "The river has carried stones from the mountain to the plain for as long as anybody has lived"
    " there.",
    "In spring the water rises, and the people of the village move their boats to the upper bank.",
    "Nobody remembers who built the first bridge, but everybody has an opinion about the second"
    " one.",
    "It was made of oak and it stood for ninety years, until a flood took it away in a single"
    " night.",
    "The third bridge is of iron, and the children say that it sings when the wind comes from the"
    " north.",
]
ARTICLE = (
    "<html><head><title>Bridges</title></head><body><nav><ul>"
    + "".join(f'<li><a href="/{i}">Menu entry {i}</a></li>' for i in range(20))
    + "</ul></nav><article><h1>Bridges</h1>"
    + "".join(f"<p>{p}</p>" for p in PARAGRAPHS)
    + "</article><footer><p>Subscribe to our newsletter. All rights reserved."
    + " Share this on everything.</p></footer></body></html>"
).encode()


def read(
    body: bytes, content_type: str = "text/html", url: str = "http://h/a/", kind: str = "html"
) -> ParsedBody:
    return parse_body(ParseTask(kind, url, content_type, True, body), "RatchetBot")  # type: ignore[arg-type]


def test_code_keeps_its_lines_and_indentation() -> None:
    parsed = read(PAGE)
    assert ">>> for i in range(2):\n...     print(i)\n0\n1" in parsed.text
    assert parsed.extractor == "resiliparse-4"


def test_prose_comes_from_trafilatura_without_its_surroundings() -> None:
    parsed = read(ARTICLE)
    assert parsed.extractor == "trafilatura-1"
    assert all(paragraph in parsed.text for paragraph in PARAGRAPHS)
    assert "Menu entry" not in parsed.text
    assert "newsletter" not in parsed.text
    assert parsed.other_digest != ""
    assert 0 <= parsed.disagreement < 0.5
    assert parsed.language == "en"


def test_tables_and_lists_keep_their_lines() -> None:
    rows = "".join(f"<tr><td>row {i}</td><td>value {i * i}</td></tr>" for i in range(5))
    items = "".join(f"<li>item number {i} of the list</li>" for i in range(5))
    text = read(
        f"<html><body><main><table>{rows}</table><ul>{items}</ul></main></body></html>".encode()
    ).text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any("row 3" in line and "value 9" in line and "row 4" not in line for line in lines)
    assert any("item number 2" in line and "item number 3" not in line for line in lines)


def test_links_are_absolute_unique_and_obey_nofollow() -> None:
    assert read(PAGE).links == ("http://h/menu", "http://h/a/next.html")
    assert read(b'<meta name="robots" content="nofollow">' + PAGE).links == ()


def test_head_links_name_feeds_sitemaps_and_the_canonical_page() -> None:
    head = (
        b'<html><head><link rel="canonical" href="/real">'
        b'<link rel="alternate" type="application/atom+xml" href="/f">'
        b'<link rel="sitemap" href="/s.xml"><link rel="stylesheet" href="/c.css"></head>'
        b"<body>x</body></html>"
    )
    parsed = read(head)
    assert (parsed.canonical, parsed.feeds, parsed.sitemaps) == (
        "http://h/real",
        ("http://h/f",),
        ("http://h/s.xml",),
    )


def test_base_element_moves_relative_links() -> None:
    page = b'<html><head><base href="/x/"></head><body><a href="y">y</a></body></html>'
    assert read(page).links == ("http://h/x/y",)


def test_title_is_unescaped_and_scripts_are_no_text() -> None:
    parsed = read(PAGE)
    assert parsed.title == "A & B"
    assert "evil" not in parsed.text


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ("é".encode("latin-1"), "text/html; charset=latin-1", "é"),
        ("é".encode(), "text/html; charset=utf-8", "é"),
        ("é".encode(), "text/html; charset=no-such", "é"),
        ("é".encode(), "text/html; charset=ascii", "é"),
        ("é".encode(), "text/html; charset=\u0000", "é"),
    ],
)
def test_wrong_charsets_do_not_lose_the_text(body: bytes, content_type: str, expected: str) -> None:
    assert decode(body, content_type) == expected


def test_tidy_makes_plain_spaces_and_single_empty_lines() -> None:
    assert tidy("a\u00a0b  \n\n\n\nc\r\n\0") == "a b\n\nc\n\ufffd"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (" ".join(PARAGRAPHS), "en"),
        (
            "Der Fluss trägt seit jeher Steine vom Berg in die Ebene, und niemand weiß, wer die"
            " erste Brücke baute.",
            "de",
        ),
        (
            "La rivière porte des pierres de la montagne à la plaine depuis toujours, et personne"
            " ne sait pourquoi.",
            "fr",
        ),
        (
            "Река несёт камни с горы на равнину, и никто не помнит, "
            "кто построил первый мост через неё.",
            "ru",
        ),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert detect_language(text)[0] == language


def test_personal_data_is_masked_before_anything_is_kept() -> None:
    parsed = read(b"<p>Ask jane.doe@firma.de about it, she knows everything there is to know.</p>")
    assert "jane" not in parsed.text
    assert parsed.masked == {"email": 1}


@given(st.binary(max_size=400), st.text(max_size=40))
def test_any_bytes_give_a_digest(body: bytes, content_type: str) -> None:
    read(body, content_type)
    read(b"<html><body><a href='" + body + b"'>", content_type)
    read(body, content_type, kind="text")
    read(body, content_type, kind="sitemap")


def test_two_readings_that_differ_much_are_both_kept_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second extractor is told what to find: which pages it reads differently changes with its
    version."""
    offers = " ".join(
        f"Offer {i} of jane.doe@firma.de for those who have waited for it." for i in range(60)
    )
    monkeypatch.setattr("crawlers.reading.html_text._by_trafilatura", lambda _: offers)
    parsed = read(ARTICLE)
    assert parsed.text == offers.replace("jane.doe@firma.de", "email@example.com")
    assert parsed.disagreement >= LARGE_DISAGREEMENT
    assert "The river has carried stones" in parsed.other_text
    monkeypatch.setattr(
        "crawlers.reading.html_text._by_trafilatura",
        lambda _: "Only this of jane.doe@firma.de was found.",
    )
    parsed = read(ARTICLE)
    assert "The river has carried stones" in parsed.text, (
        "what throws most of the article away is not believed"
    )
    assert parsed.other_text == "Only this of email@example.com was found."
