"""The child process that reads bodies: slow, greedy and fatal pages cost themselves and nothing
else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from crawlers.reading.parse_body import MAX_NESTING, parse_body
from crawlers.reading.parsed_body import ParseTask
from crawlers.reading.reader_process import DIED, OUT_OF_MEMORY, OUT_OF_TIME, ReaderProcess
from tests.crawlers.reading.test_html_text import ARTICLE

TASK = ParseTask("html", "http://h/a", "text/html", True, ARTICLE)


@pytest.fixture(scope="module")
def child() -> Iterator[ReaderProcess]:
    made = ReaderProcess("RatchetBot", timeout_s=60.0, memory_bytes=2**29)
    yield made
    made.close()


def test_the_child_reads_what_the_function_reads(child: ReaderProcess) -> None:
    assert child.parse(TASK) == parse_body(TASK, "RatchetBot")


def test_a_killed_child_costs_one_page(child: ReaderProcess) -> None:
    child.parse(TASK)
    assert child._process is not None
    first = child._process.pid
    os.kill(first, signal.SIGKILL)
    child._process.wait()
    assert child.parse(TASK).text != ""
    assert child._process.pid != first


def test_a_body_whose_reader_is_killed_from_outside_is_read_by_the_next_one(
    child: ReaderProcess,
) -> None:
    child.parse(TASK)
    assert child._process is not None
    stopped = child._process
    os.kill(stopped.pid, signal.SIGSTOP)  # so that it cannot answer before it is killed
    threading.Timer(0.3, os.kill, [stopped.pid, signal.SIGKILL]).start()
    assert child.parse(TASK) == parse_body(TASK, "RatchetBot")
    assert stopped.poll() == -signal.SIGKILL


def test_a_body_whose_reader_crashes_is_given_up_at_once(child: ReaderProcess) -> None:
    child.parse(TASK)
    assert child._process is not None
    stopped = child._process
    os.kill(stopped.pid, signal.SIGSTOP)
    threading.Timer(
        0.3, lambda: (os.kill(stopped.pid, signal.SIGSEGV), os.kill(stopped.pid, signal.SIGCONT))
    ).start()
    assert child.parse(TASK).failure == DIED
    assert child.parse(TASK).failure == ""


def test_a_page_that_takes_too_long_is_given_up() -> None:
    hasty = ReaderProcess("RatchetBot", timeout_s=0.0, memory_bytes=2**29)
    assert hasty.parse(TASK).failure == OUT_OF_TIME
    hasty._timeout_s = 60.0
    assert hasty.parse(TASK).failure == ""
    hasty.close()


def test_a_page_that_takes_too_much_memory_is_given_up_and_the_next_one_read(
    child: ReaderProcess,
) -> None:
    greedy = ParseTask("text", "http://h/", "text/plain; charset=utf-8", False, b"ab " * 60_000_000)
    assert child.parse(greedy).failure in (OUT_OF_MEMORY, DIED)
    assert child.parse(TASK).failure == ""


def page(inside: bytes) -> bytes:
    return b"<html><body>" + inside + b"</body></html>"


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (page(b"<div>" * 200_000), "elements nested too deep"),
        (page(b"<div>" * (MAX_NESTING + 1)), "elements nested too deep"),
        (page(b"<p>x</p>" * 100_000), ""),
        (page(b'<p title="' + b"a" * 4_000_000 + b'">megabyte attribute</p>'), ""),
        (page(b"<p " + b"a=b " * 500_000 + b">many attributes</p>"), ""),
        (page(b"<table>" * 1500 + b"deep table"), ""),
        (page(b"<a href=x>" * 5000), "elements nested too deep"),
        (page(b"<a href=x>y</a>" * 50_000), ""),
        (b"\xff\xfe" + "<p>utf-16 page</p>".encode("utf-16-le"), ""),
        (b"\x00" * 1_000_000, ""),
        (b"<!--" + b"-" * 3_000_000, ""),
        (page(b"&" * 1_000_000), ""),
        (page(b"<svg><math>" * 800), ""),
    ],
    ids=[
        "deep",
        "just too deep",
        "wide",
        "attribute",
        "attributes",
        "tables",
        "open links",
        "links",
        "utf-16",
        "zeros",
        "comment",
        "entities",
        "foreign",
    ],
)
def test_hostile_markup_is_read_or_refused_and_the_child_lives_on(
    child: ReaderProcess, body: bytes, failure: str
) -> None:
    parsed = child.parse(ParseTask("html", "http://h/", "text/html", True, body))
    assert parsed.failure == failure
    assert child.parse(TASK).failure == ""
