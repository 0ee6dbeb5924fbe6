"""Words to the person at the terminal: headings, notes, warnings and progress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(highlight=False, soft_wrap=True)
if not console.is_terminal:
    console.width = 160  # a log has no edge to wrap tables at
PLAIN_INTERVAL_S = 10.0


_CONTROLS = dict.fromkeys(
    [*(c for c in range(32) if chr(c) not in "\n\t"), *range(127, 160)], "\ufffd"
)


def plain(text: str) -> str:
    """Untrusted text without control characters: an escape sequence could rewrite the terminal."""
    return text.translate(_CONTROLS)


class Advance(Protocol):
    """Report `amount` more units done, with words on how it goes."""

    def __call__(self, amount: float = 1, detail: str = "") -> None:
        """Report."""
        ...


def heading(text: str) -> None:
    """A line that starts a stage."""
    console.print(f"[bold]{escape(text)}[/bold]")


def note(text: str) -> None:
    """A line of information inside a stage."""
    console.print(f"  {escape(text)}")


def warn(text: str) -> None:
    """A line that the user should not overlook."""
    console.print(f"  [yellow]! {escape(text)}[/yellow]")


@contextmanager
def progress(description: str, total: float) -> Iterator[Advance]:
    """A progress bar on a terminal; elsewhere (a log, a submitted job) a line every ten seconds."""
    if console.is_terminal:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
        times = (
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, *times, console=console) as bar:
            task = bar.add_task(description, total=total, detail="")

            def advance_bar(amount: float = 1, detail: str = "") -> None:
                bar.update(task, advance=amount, detail=detail)

            yield advance_bar
        return

    done, last = 0.0, time.monotonic()

    def advance_plain(amount: float = 1, detail: str = "") -> None:
        nonlocal done, last
        done += amount
        if time.monotonic() - last >= PLAIN_INTERVAL_S or done >= total > 0:
            last = time.monotonic()
            note(f"{description}: {done:.0f} of {total:.0f}{'; ' + detail if detail else ''}")

    yield advance_plain
