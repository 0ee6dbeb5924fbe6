from __future__ import annotations

import json

import pytest
from resiliparse.parse.html import HTMLTree

from crawlers.permission.robots import RobotsFile, parse_robots
from crawlers.permission.statements import (
    PageMeta,
    deciding_statement,
    may_use,
    read_meta,
    statements_about,
    unreadable_statements,
)

ME = "RatchetBot"
URL = "http://h.example/blog/page?x=1"


def verdicts(
    robots: str = "",
    headers: dict[str, list[str]] | None = None,
    body: bytes = b"",
    tdm: object = None,
) -> list[str]:
    reservation = json.dumps(tdm).encode() if tdm is not None else b""
    file = RobotsFile(parse_robots(robots.encode()), ME)
    words = statements_about(
        URL,
        file,
        reservation,
        headers or {},
        read_meta(body, HTMLTree.parse_from_bytes(body), ME),
        ME,
    )
    return [deciding_statement(purpose, words).verdict for purpose in ("train", "evaluate")]


DENY, ALLOW, UNKNOWN = ["deny", "deny"], ["allow", "allow"], ["unknown", "unknown"]


@pytest.mark.parametrize(
    ("robots", "expected"),
    [
        ("User-agent: *\nContent-Usage: train-ai=n", DENY),
        ("User-agent: *\nContent-Usage: train-ai=y", ALLOW),
        ("User-agent: *\nContent-Usage: /blog/ train-ai=n", DENY),
        ("User-agent: *\nContent-Usage: /shop/ train-ai=n", UNKNOWN),
        ("User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /blog/ train-ai=y", ALLOW),
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no", DENY),
        ("User-agent: *\nContent-Signal: ai-train=yes", ALLOW),
        ("User-agent: *\nContent-Signal: search=yes, ai-input=no", UNKNOWN),
        (
            "User-agent: *\nContent-Signal: ai-train=no\n\n"
            "User-agent: RatchetBot\nContent-Signal: ai-train=yes",
            ALLOW,
        ),
        ("User-agent: other\nContent-Signal: ai-train=no", UNKNOWN),
    ],
)
def test_preferences_in_robots_txt_are_scoped_by_path_and_agent(
    robots: str, expected: list[str]
) -> None:
    assert verdicts(robots) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("content-usage", "train-ai=n", DENY),
        ("content-signal", "ai-train=no", DENY),
        ("x-robots-tag", "noindex", DENY),
        ("x-robots-tag", "noai, noimageai", DENY),
        ("x-robots-tag", "noarchive", DENY),
        ("x-robots-tag", "nofollow", UNKNOWN),
        ("x-robots-tag", "otherbot: noindex", UNKNOWN),
        ("x-robots-tag", "ratchetbot: noai", DENY),
        ("x-robots-tag", "unavailable_after: 25 Jun 2030 15:00:00 PST", UNKNOWN),
        ("tdm-reservation", "1", DENY),
        ("tdm-reservation", "0", ALLOW),
        ("tdm-reservation", "maybe", UNKNOWN),
    ],
)
def test_headers(name: str, value: str, expected: list[str]) -> None:
    assert verdicts(headers={name: [value]}) == expected


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        (b'<meta name="robots" content="noindex, nofollow">', DENY),
        (b'<META NAME=ROBOTS CONTENT="NoAI">', DENY),
        (b"<meta name='RatchetBot' content='noai'>", DENY),
        (b"<meta name='googlebot' content='noindex'>", UNKNOWN),
        (b'<meta name="tdm-reservation" content="1">', DENY),
        (b'<meta content="noarchive" name="robots">', DENY),
        (b"<p>robots and noai in plain words</p>", UNKNOWN),
        (b'<!-- <meta name="robots" content="noai"> -->', UNKNOWN),
    ],
)
def test_meta_elements(markup: bytes, expected: list[str]) -> None:
    assert verdicts(body=b"<html><head>" + markup + b"</head><body>x</body></html>") == expected


def test_tdm_well_known_file_is_matched_by_location_and_the_pages_own_word_comes_first() -> None:
    rules = [{"location": "/blog/*", "tdm-reservation": 1}, {"location": "/", "tdm-reservation": 0}]
    assert verdicts(tdm=rules) == DENY
    assert verdicts(tdm=[{"location": "/shop/*", "tdm-reservation": 1}]) == UNKNOWN
    assert verdicts(tdm=rules, headers={"tdm-reservation": ["0"]}) == ALLOW


@pytest.mark.parametrize("tdm", ["[" * 100_000, 5, {"location": "/"}, [1, None, {"location": 3}]])
def test_a_broken_well_known_file_says_nothing(tdm: object) -> None:
    assert verdicts(tdm=tdm) == UNKNOWN


def test_deny_wins_and_the_operator_decides_about_the_unknown() -> None:
    assert verdicts("User-agent: *\nContent-Usage: train-ai=y", {"x-robots-tag": ["noai"]}) == DENY
    assert may_use("allow", False)
    assert not may_use("deny", True)
    assert may_use("unknown", True)
    assert not may_use("unknown", False)


def test_the_words_that_decided_are_kept() -> None:
    file = RobotsFile(parse_robots(b"User-agent: *\nContent-Signal: ai-train=no  # please"), ME)
    word = deciding_statement("train", statements_about(URL, file, b"", {}, PageMeta(), ME))
    assert word.evidence == "Content-Signal: ai-train=no  # please"
    assert word.reason == "robots.txt ai-train"


@pytest.mark.parametrize(
    "body", [b'<meta name="ROBOTS" content=x>', b"<p>tdm-reservation", b"<meta name=ratchetbot>"]
)
def test_markup_that_cannot_be_read_is_a_no_where_it_may_say_so(body: bytes) -> None:
    assert [
        deciding_statement(purpose, unreadable_statements(body, ME)).verdict
        for purpose in ("train", "evaluate")
    ] == DENY
    assert unreadable_statements(b"<p>plain</p>", ME) == []
