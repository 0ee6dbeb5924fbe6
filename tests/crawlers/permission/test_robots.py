"""RFC 9309: known answers, properties, and Protego as the other opinion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego

from crawlers.permission.robots import (
    GOOD_COPY_S,
    MAX_ROBOTS_BYTES,
    RobotsFile,
    normalise,
    parse_robots,
    robots_access,
    sitemaps_in,
)
from infra.store.frontier.records import Robots

ME = "RatchetBot"


def robots(text: str, product: str = ME) -> RobotsFile:
    return RobotsFile(parse_robots(text.encode()), product)


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow:", "/x", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nAllow: /a/b\nDisallow: /a", "/a/c", False),
        ("User-agent: *\nDisallow: /p\nAllow: /p", "/p", True),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf?z", True),
        ("User-agent: *\nDisallow: /a*b*c", "/a1b2c3", False),
        ("User-agent: *\nDisallow: /a*b*c", "/acb", True),
        ("User-agent: *\nDisallow: /fish*", "/fish.html", False),
        ("User-agent: *\nDisallow: /fish$", "/fish", False),
        ("User-agent: *\nDisallow: /fish$", "/fishes", True),
        ("User-agent: *\nDisallow: *", "/x", False),
        ("User-agent: *\nDisallow: /a%3cd.html", "/a%3Cd.html", False),
        ("User-agent: *\nDisallow: /~joe/", "/%7Ejoe/x", False),
        ("User-agent: *\nDisallow: /%7ejoe/", "/~joe/x", False),
        ("User-agent: *\nDisallow: /a/b", "/a%2Fb", True),
        ("User-agent: *\nDisallow: /ツ", "/%E3%83%84", False),
        ("User-agent: *\nDisallow: /%E3%83%84", "/ツ", False),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
        ("user-AGENT: RATCHETBOT\ndisallow: /x # why\n", "/x", False),
        ("\ufeffUser-agent: *\nDisallow: /x", "/x", False),
        ("User-agent: *\rDisallow: /x\r", "/x", False),
        ("User-agent : *\n Disallow : /x", "/x", False),
        ("Disallow: /x\nUser-agent: *\nDisallow: /y", "/x", True),
    ],
)
def test_known_answers(text: str, path: str, allowed: bool) -> None:
    assert robots(text).allows(path) == allowed


@pytest.mark.parametrize(
    "agent",
    [
        "RatchetBot",
        "ratchetbot",
        "RatchetBot/1.0",
        "ratchetbot/2.3-beta",
        "Mozilla RatchetBot/1.0",
        "RatchetBot foo",
    ],
)
def test_the_product_token_is_matched_with_version_and_among_words(agent: str) -> None:
    text = f"User-agent: {agent}\nDisallow: /mine\n\nUser-agent: *\nDisallow: /"
    assert not robots(text).allows("/mine")
    assert robots(text).allows("/other"), "the group of our own replaces that of all"


@pytest.mark.parametrize("agent", ["Ratchet", "RatchetBotty", "NotRatchetBot", "Rat*"])
def test_other_agents_are_not_us(agent: str) -> None:
    assert robots(f"User-agent: {agent}\nDisallow: /").allows("/x")


def test_groups_of_one_agent_are_merged_and_agent_lines_share_a_group() -> None:
    text = (
        "User-agent: RatchetBot\nDisallow: /a\n\n"
        "User-agent: x\nUser-agent: RatchetBot\nDisallow: /b\n"
        "User-agent: *\nDisallow: /c"
    )
    file = robots(text)
    assert [file.allows(p) for p in ("/a", "/b", "/c")] == [False, False, True]


def test_unknown_records_never_split_a_group() -> None:
    text = (
        "User-agent: RatchetBot\nSitemap: http://h/s.xml\nNoindex: /z\n"
        "User-agent: other\nDisallow: /a\nHost: h\nDisallow: /b"
    )
    file = robots(text)
    assert not file.allows("/a")
    assert not file.allows("/b")


def test_only_the_first_500_kib_are_read() -> None:
    filler = b"# filler\n" * (MAX_ROBOTS_BYTES // 9)
    text = b"User-agent: *\nDisallow: /first\n" + filler + b"\nDisallow: /last\n"
    file = RobotsFile(parse_robots(text), ME)
    assert not file.allows("/first")
    assert file.allows("/last")


def test_crawl_delay_and_sitemaps_are_read() -> None:
    text = "User-agent: *\nCrawl-delay: 2.5\nSitemap: http://h/a.xml\nsitemap:http://h/b.xml"
    assert robots(text).crawl_delay_s == 2.5
    assert sitemaps_in(text.encode()) == ["http://h/a.xml", "http://h/b.xml"]
    assert [
        robots(f"User-agent: *\nCrawl-delay: {bad}").crawl_delay_s
        for bad in ("x", "-1", "nan", "inf")
    ] == [
        0,
        0,
        0,
        86400,
    ]


@pytest.mark.parametrize(
    ("status", "good_age_s", "expected"),
    [
        (200, None, "file"),
        (404, None, "all"),
        (401, None, "all"),
        (429, None, "none"),
        (500, None, "none"),
        (0, None, "none"),
        (503, 86400.0, "file"),
        (0, GOOD_COPY_S + 1, "none"),
        (404, 86400.0, "all"),
    ],
)
def test_what_an_answer_means(status: int, good_age_s: float | None, expected: str) -> None:
    now = 1e9
    known = Robots(
        "http://h",
        now,
        status,
        b"new",
        now - good_age_s if good_age_s is not None else 0.0,
        b"good",
        b"",
    )
    access, body = robots_access(known, now)
    assert access == expected
    assert body == (b"" if expected != "file" else b"new" if status == 200 else b"good")


paths = st.text(alphabet="abc/*$%2F~ü.?=&", min_size=0, max_size=12).map(lambda s: "/" + s)
lines = st.lists(st.tuples(st.sampled_from(["Allow", "Disallow"]), paths), max_size=6)


@given(lines, paths.filter(lambda p: "*" not in p and "$" not in p and "%" not in p))
def test_protego_agrees_wherever_the_rfc_is_clear(rules: list[tuple[str, str]], path: str) -> None:
    text = "User-agent: *\n" + "\n".join(
        f"{kind}: {pattern}" for kind, pattern in rules if "%" not in pattern
    )
    theirs = Protego.parse(text).can_fetch(f"http://h{path}", ME)
    decided = robots(text).decide(path)
    lengths = [len(normalise(p)) for k, p in rules if "%" not in p]
    if len(set(lengths)) == len(lengths):  # Protego weighs equal lengths in its own way
        assert (decided is None or decided.allow) == theirs, text


@given(st.binary(max_size=400))
def test_any_bytes_are_parsed(body: bytes) -> None:
    RobotsFile(parse_robots(body), ME).allows("/x")
    RobotsFile(parse_robots(b"User-agent: *\nDisallow: /" + body), ME).decide(
        "/" + body.decode("latin-1")
    )


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(path: str) -> None:
    assert normalise(normalise("/" + path)) == normalise("/" + path)


def test_a_pattern_of_many_stars_takes_no_exponential_time() -> None:
    assert robots("User-agent: *\nDisallow: /" + "a*" * 500 + "b").allows("/" + "a" * 2000)
