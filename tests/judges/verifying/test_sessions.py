"""Demonstrations are true as their prompts read: replayed by doctest and by CPython's console."""

from __future__ import annotations

import code
import contextlib
import io
import json
import time

import pytest

from crawlers.reading.parse_body import parse_body
from crawlers.reading.parsed_body import ParseTask
from crawlers.sources.builtin_site import site_folder
from infra.records import Document, Sample
from judges.verifying.examples import verify_examples
from judges.verifying.sandbox import Sandbox
from judges.verifying.verifier import QUESTION, VerifiedDocument, verify_document

# doctest parses, runs and compares here, so nothing of the product is used but the sandbox.
REPLAY = r"""
import doctest, json, sys
failures = []
for text in json.loads(sys.argv[1]):
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, "t", "t", 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    runner.run(test, out=lambda _: None)
    if runner.failures or not runner.tries:
        failures.append(text)
print(json.dumps(failures))
"""


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def verified(text: str, sandbox: Sandbox, title: str = "t") -> VerifiedDocument:
    return verify_document(Document("d", "p", "u", title, text, "en", "x", "train", 1), 1, sandbox)


def session(sample: Sample) -> str:
    assert sample.prompt.startswith(QUESTION)
    return sample.prompt.removeprefix(QUESTION)


def console_output(sample: Sample) -> str:
    """What CPython's interactive console prints for the session of a prompt; only for texts of this
    file."""
    console = code.InteractiveConsole()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        lines = [line for line in session(sample).splitlines() if line[:3] in (">>>", "...")]
        for line in lines:
            if line.startswith(">>>"):
                console.push("")
            console.push(line[4:])
        console.push("")
    return printed.getvalue()


def replay_failures(samples: list[Sample], sandbox: Sandbox) -> list[str]:
    texts = [f"{session(s)}\n{s.completion}\n" for s in samples]
    return json.loads(sandbox.run(REPLAY, json.dumps(texts)).stdout)


@pytest.mark.parametrize(
    ("page", "least"),
    [("statistics", 8), ("heapq", 2), ("collections", 5), ("json", 3)],
)
def test_every_demonstration_of_a_page_runs_from_its_prompt_alone(
    sandbox: Sandbox, page: str, least: int
) -> None:
    path = site_folder() / f"{page}.html"
    task = ParseTask("html", f"http://h/{path.name}", "text/html", False, path.read_bytes())
    parsed = parse_body(task)
    samples = [
        s
        for s in verified(parsed.text, sandbox, parsed.title).demonstrations
        if s.check == "output"
    ]
    assert len(samples) >= least
    assert replay_failures(samples, sandbox) == []


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (">>> import math\n>>> math.floor(2.5)\n2\n", ""),
        (">>> math.floor(2.5)\n2\n", ""),
        (">>> mean([1, 3])\n2\n", "Das Modul statistics"),
        (">>> statistics.mean([1, 3])\n2\n", "statistics 模块"),
        (">>> x = [1]\n\nText between.\n\n>>> x.append(2)\n\n>>> x\n[1, 2]\n", ""),
        (">>> d = {'a': 1}\n>>> d.pop('a')\n1\n>>> d\n{}\n", ""),
        (">>> it = iter('ab')\n>>> next(it)\n'a'\n>>> next(it)\n'b'\n", ""),
        (">>> def f(x):\n...     return x + y\n...\n>>> y = 3\n>>> f(4)\n7\n", ""),
        (">>> class 点:\n...     x = 1\n...\n>>> 点.x\n1\n", ""),
        (">>> for i in range(2):\n...     größe = i\n...\n>>> größe\n1\n", ""),
        (">>> a = b = 2\n>>> a += 1\n>>> (a, b)\n(3, 2)\n", ""),
    ],
)
def test_context_is_added_until_the_example_runs_alone(
    sandbox: Sandbox, text: str, title: str
) -> None:
    samples = verified(text, sandbox, title).demonstrations
    assert samples
    assert replay_failures(samples, sandbox) == []
    for sample in samples:
        assert console_output(sample).endswith(sample.completion + "\n")


def test_statements_that_an_example_does_not_need_are_not_shown(sandbox: Sandbox) -> None:
    text = ">>> unused = 1\n>>> x = 4\n>>> len('abc')\n3\n>>> x + 1\n5\n"
    shown = [session(s) for s in verified(text, sandbox).demonstrations]
    assert shown == [">>> len('abc')", ">>> x = 4\n>>> x + 1"]


def test_example_that_needs_something_outside_the_page_is_dropped_with_a_reason(
    sandbox: Sandbox,
) -> None:
    hidden = ">>> import builtins; builtins.__dict__['hid' + 'den'] = 5\n"
    text = hidden + ">>> x = 1\n" * 60 + "\n>>> hidden\n5\n"
    result = verified(text, sandbox)
    assert result.demonstrations == []


def test_drops_are_counted_by_reason(sandbox: Sandbox) -> None:
    long = ">>> 'a' * 99\n'" + "a" * 99 + "'\n"
    result = verified(">>> x = 1\n\n" + long, sandbox)
    assert [reason for reason, _ in result.drops] == [
        "example prints nothing",
        "example prints more than a short line",
    ]


@pytest.mark.parametrize(
    "attack",
    [
        ">>> import __main__; __main__.check = lambda *a: True\n",
        ">>> import doctest; doctest.OutputChecker.check_output = lambda *a: True\n",
        '>>> import sys; _ = sys.__stdout__.write(\'[1, "3\\\\n", ""]\\n\')\n',
        '>>> print(\'[1, "3\\\\n", ""]\')\n',
        '>>> import sys, json; json.dumps = lambda row: \'[%d, "3\\\\n", ""]\' % row[0]\n',
        ">>> import io; io.StringIO.getvalue = lambda self: '3\\n'\n",
        '>>> import os; _ = os.write(1, b\'[1, "3\\\\n", ""]\\n\')\n',
        '>>> import os; _ = os.write(1, b\'[0, "", ""]\\n[1, "3\\\\n", ""]\\n\'); os._exit(0)\n',
    ],
)
def test_code_of_a_page_cannot_make_a_wrong_example_right(sandbox: Sandbox, attack: str) -> None:
    labels = [v.label for v in verify_examples(attack + "\n>>> 1 + 1\n3\n", "", sandbox)]
    assert labels[-1] != "right"


@pytest.mark.parametrize(
    ("source", "ended"),
    [
        ("import time; time.sleep(1e6)", "out_of_time"),
        ("import time\ntry:\n  time.sleep(1e6)\nexcept BaseException: pass", "out_of_time"),
        ("import time\nwhile True: time.sleep(0.01)", "out_of_time"),
        ("import select; select.select([], [], [])", "out_of_time"),
        ("import select, sys\nwhile True: select.select([sys.stdin], [], [])", "out_of_time"),
        ("import time\nwhile True: time.time()", "out_of_time"),
        ("import time; time.sleep(0.05)", "exited"),
        ("input()", "exited"),
    ],
)
def test_waiting_ends(sandbox: Sandbox, source: str, ended: str) -> None:
    assert sandbox.run(source).ended == ended


def test_calls_into_the_host_end_at_the_deadline() -> None:
    source = "import os\nwhile True: os.urandom(2**24)"
    assert Sandbox(fuel=10**15, time_s=2.0).run(source).ended == "out_of_time"


def test_clock_of_the_sandbox_is_that_of_the_host(sandbox: Sandbox) -> None:
    inside = float(sandbox.run("import time; print(time.time())").stdout)
    assert abs(inside - time.time()) < 600
