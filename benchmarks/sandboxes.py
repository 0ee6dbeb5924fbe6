"""Which sandbox runs more of the built-in site's `>>>` examples, and how fast.

    pip install pydantic-monty && python -m benchmarks.sandboxes

An example counts as run when it ends as its page says. Each page is one session. Prints a table and
appends it to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import doctest
import time
from collections.abc import Callable
from importlib.metadata import version

from benchmarks.results import append
from crawlers.reading.parse_body import parse_body
from crawlers.reading.parsed_body import ParseTask
from crawlers.sources.builtin_site import site_folder
from judges.verifying.examples import Example, find_examples, title_modules, verify_examples
from judges.verifying.sandbox import Sandbox

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
Page = tuple[str, str]


def pages() -> list[Page]:
    """(title, text) of every page with examples."""
    site_pages = []
    for path in sorted(site_folder().glob("*.html")):
        page = parse_body(
            ParseTask("html", f"http://h/{path.name}", "text/html", False, path.read_bytes())
        )
        if find_examples(page.text):
            site_pages.append((page.title, page.text))
    return site_pages


def wasm_right(title: str, text: str, sandbox: Sandbox) -> int:
    return sum(item.label == "right" for item in verify_examples(text, title, sandbox))


def matches(example: Example, got: str) -> bool:
    lines = "".join(example.want.splitlines(keepends=True)[: len(got.splitlines())])
    check = doctest.OutputChecker().check_output
    return example.exception is None and (
        check(example.want, got, FLAGS) or (bool(got) and check(lines, got, FLAGS))
    )


def monty_right(title: str, text: str) -> int:
    import pydantic_monty

    right = 0
    with (
        pydantic_monty.Monty() as pool,
        pool.checkout(limits={"max_feed_duration_secs": 5.0}) as session,
    ):

        def feed(code: str) -> str:
            printed: list[str] = []
            value = session.feed_run(
                code, print_callback=lambda _stream, chunk: printed.append(chunk)
            )
            return "".join(printed) + (f"{value!r}\n" if value is not None else "")

        for name in title_modules(title):
            try:
                feed(f"from {name} import *\nimport {name}")
            except Exception:
                continue
        for example in find_examples(text):
            try:
                right += matches(example, feed(example.source))
            except Exception as error:
                right += (
                    example.exception is not None and type(error).__name__ != "MontySyntaxError"
                )
    return right


def measure(run: Callable[[str, str], int], site_pages: list[Page]) -> tuple[int, float]:
    started = time.monotonic()
    right = 0
    for title, text in site_pages:
        try:
            right += run(title, text)
        except Exception as error:
            print(f"{title}: {type(error).__name__}: {error}")
    return right, time.monotonic() - started


def main() -> None:
    site_pages = pages()
    total = sum(len(find_examples(text)) for _, text in site_pages)
    sandbox = Sandbox()
    wasm_right("", ">>> 1\n1\n", sandbox)  # compile before the clock starts
    rows = []
    for name, package, run in (
        ("CPython in wasmtime", "wasmtime", lambda title, text: wasm_right(title, text, sandbox)),
        ("pydantic-monty", "pydantic-monty", monty_right),
    ):
        right, seconds = measure(run, site_pages)
        rows.append(
            [
                f"{name} {version(package)}",
                f"{right} of {total}",
                f"{right / total:.0%}",
                f"{seconds:.1f}",
            ]
        )
    append(
        "Sandboxes on the built-in site's examples",
        ["sandbox", "as the page says", "share", "seconds"],
        rows,
    )


if __name__ == "__main__":
    main()
