"""Output on the terminal: headings, notes, warnings and progress bars."""

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
    console.width = 160  # wide enough for the tables in a log
PLAIN_INTERVAL_S = 10.0
"""Time between two lines of progress in a log, in seconds."""

_CONTROLS = dict.fromkeys(
    [*(c for c in range(32) if chr(c) not in "\n\t"), *range(127, 160)], "\ufffd"
)


def plain(text: str) -> str:
    """Untrusted text without control characters, which could change what the terminal shows."""
    return text.translate(_CONTROLS)


class Advance(Protocol):
    """A function that reports progress."""

    def __call__(self, amount: float = 1, detail: str = "") -> None:
        """Report that `amount` more units are done; `detail` is shown beside the bar."""
        ...


def heading(text: str) -> None:
    """Print the heading of a stage."""
    console.print(f"[bold]{escape(text)}[/bold]")


def note(text: str) -> None:
    """Print a line of information."""
    console.print(f"  {escape(text)}")


def warn(text: str) -> None:
    """Print a warning."""
    console.print(f"  [yellow]! {escape(text)}[/yellow]")


@contextmanager
def progress(description: str, total: float) -> Iterator[Advance]:
    """Show a progress bar on a terminal, or a line every ten seconds in a log."""
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
