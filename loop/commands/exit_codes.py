"""Exit codes and the last lines of a command: a short error, or the table and the report."""

from __future__ import annotations

import errno
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.console import console, heading, note
from infra.errors import StageError, UserError
from loop.commands.naming import model_words

if TYPE_CHECKING:
    from loop.record.run_folder import Run

OUR_ERROR, USER_ERROR, INTERRUPTED = 1, 2, 130
_RESUME = " Run the same command again to continue."


@contextmanager
def exit_on_error(can_resume: bool = True) -> Iterator[None]:
    """Turn errors into one line and an exit code: 2 for a user's mistake, 1 for ours.

    With `can_resume` the user is told that the same command continues where it stopped.
    """
    resume = _RESUME if can_resume else ""
    try:
        yield
    except KeyboardInterrupt:
        _fail(f"interrupted.{resume}", INTERRUPTED)
    except Exception as error:  # the border of the program: every error becomes a message
        _report(_unwrapped(error), resume)


def _report(error: BaseException, resume: str) -> None:
    if isinstance(error, UserError):
        _fail(str(error), USER_ERROR)
    if _disk_is_full(error):
        remedy = "Free some space and run the same command again; nothing committed is lost."
        _fail(f"the disk is full. {remedy}", USER_ERROR)
    if isinstance(error, StageError):
        _fail(f"{str(error).removesuffix('.')}.{resume}", OUR_ERROR)
    traceback.print_exception(error)
    _fail(f"this is a bug in Ratchet. Nothing committed is lost.{resume}", OUR_ERROR)


def _fail(message: str, code: int) -> None:
    console.print(f"error: {message}", style="red", markup=False)
    sys.stdout.flush()
    sys.exit(code)


def _unwrapped(error: BaseException) -> BaseException:
    """The error without Ray's wrapping, if Ray is loaded at all."""
    if "ray" not in sys.modules:
        return error
    from infra.cluster.connection import unwrap_error

    return unwrap_error(error)


def _disk_is_full(error: BaseException) -> bool:
    """Whether an error of ours, SQLite's or DuckDB's says that the disk is full."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    is_store_error = isinstance(error, sqlite3.Error | StageError) or type(
        error
    ).__module__.startswith(("duckdb", "_duckdb"))
    texts = ("no space left", "disk is full")
    return is_store_error and any(text in str(error).lower() for text in texts)


def finish(run: Run) -> None:
    """Print the table of generations and write the report."""
    from infra.store.reader import open_reader
    from loop.show.report import write_report
    from loop.show.tables import generations_table

    run.store.publish_snapshot()
    with open_reader(run.folder) as reader:
        heading("Generations")
        console.print(generations_table(reader))
        note(f"report: {write_report(run.folder, reader)}")
    champion = run.store.registry.champion()
    note(f"champion: {model_words(champion.generation, champion.arm)} in {champion.path}")
