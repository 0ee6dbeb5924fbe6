from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.fetching.politeness import AddressClock, audit_requests, delay_after, retry_after
from infra.records import Request


@pytest.mark.parametrize(
    ("configured", "crawl_delay", "latency", "own", "expected"),
    [
        (0.0, 0.0, 0.0, False, 1.0),
        (2.0, 0.0, 0.1, False, 2.0),
        (1.0, 9.0, 0.1, False, 9.0),
        (1.0, 0.0, 3.0, False, 15.0),
        (1.0, 600.0, 0.1, False, 60.0),
        (0.0, 0.0, 30.0, True, 0.0),
        (0.2, 0.0, 0.0, True, 0.2),
    ],
)
def test_delay(
    configured: float, crawl_delay: float, latency: float, own: bool, expected: float
) -> None:
    assert delay_after(configured, crawl_delay, latency, own) == expected


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_delay_is_always_between_one_and_sixty_seconds_for_others(
    a: float, b: float, c: float
) -> None:
    assert 1 <= delay_after(a, b, c, own=False) <= 60


@pytest.mark.parametrize(
    ("status", "header", "expected"),
    [
        (200, "9", 0),
        (429, "9", 9),
        (503, "9", 9),
        (503, "", 60),
        (503, "soon", 60),
        (429, "9" * 30, 86400),
    ],
)
def test_retry_after(status: int, header: str, expected: float) -> None:
    assert retry_after(status, header, 1e9) == expected


def test_retry_after_as_a_date() -> None:
    assert retry_after(503, formatdate(1e9 + 120, usegmt=True), 1e9) == 120
    assert retry_after(503, formatdate(1e9 - 120, usegmt=True), 1e9) == 0


def test_an_address_is_asked_in_turns_whatever_the_names() -> None:
    clock = AddressClock(0.5)
    assert [
        clock.reserve(["1.1.1.1"], 10.0),
        clock.reserve(["1.1.1.1", "2.2.2.2"], 10.0),
        clock.reserve(["2.2.2.2"], 10.2),
        clock.reserve(["3.3.3.3"], 10.0),
    ] == [10.0, 10.5, 11.0, 10.0]


def request(number: int, start: float, **changes: object) -> Request:
    base = Request(
        str(number),
        1,
        0,
        "h",
        "h",
        "9.9.9.9",
        f"http://h/{number}",
        "page",
        start,
        start + 0.1,
        200,
        5,
        1.0,
        0.0,
        False,
        0.0,
        "",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


ROBOTS = request(0, 0.0, url="http://h/robots.txt", kind="robots")


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        (request(2, 5.0), None),
        (request(2, 2.5), "delay"),
        (request(2, 2.05), "one at a time"),
        (request(2, 5.0, url="http://other/2"), "robots.txt first"),
    ],
)
def test_the_auditor_sees_what_was_wrong(second: Request, rule: str | None) -> None:
    assert [v.rule for v in audit_requests([second, ROBOTS, request(1, 2.0)])] == (
        [rule] if rule else []
    )


def test_the_auditor_recomputes_the_delay_from_latency_crawl_delay_and_retry_after() -> None:
    slow = request(1, 2.0, ended_at=5.0)
    assert [v.rule for v in audit_requests([ROBOTS, slow, request(2, 15.0)])] == ["delay"]
    assert audit_requests([ROBOTS, slow, request(2, 20.1)]) == []
    asked = request(1, 2.0, status=503, retry_after_s=30.0)
    assert [v.rule for v in audit_requests([ROBOTS, asked, request(2, 20.0)])] == ["retry-after"]
    assert [
        v.required_s
        for v in audit_requests([ROBOTS, request(1, 2.0, crawl_delay_s=8.0), request(2, 9.0)])
    ] == [8.0]


def test_the_auditor_watches_addresses_across_hosts_and_workers() -> None:
    other = request(7, 0.2, host="g", url="http://g/robots.txt", kind="robots", worker=3)
    assert [v.rule for v in audit_requests([ROBOTS, other], 0.5)] == ["address gap"]
    assert audit_requests([ROBOTS, replace(other, address="8.8.8.8")], 0.5) == []


def test_a_robots_txt_older_than_a_day_is_too_old() -> None:
    assert [v.rule for v in audit_requests([ROBOTS, request(1, 90000.0)])] == ["robots.txt first"]
