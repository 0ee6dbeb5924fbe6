"""The end of a run: table and report when it went well, a short error and an exit code when not."""

from __future__ import annotations

import errno
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from infra.cluster.connection import unwrap_error
from infra.console import console, heading, note
from infra.errors import StageError, UserError
from infra.store.reading import open_for_reading
from loop.record.run_folder import Run
from loop.show.report import write_report
from loop.show.tables import generations_table

USER_ERROR, OUR_ERROR, INTERRUPTED = 2, 1, 130


def _fail(message: str, code: int) -> None:
    console.print(f"error: {message}", style="red", markup=False)
    sys.stdout.flush()
    sys.exit(code)


def _disk_is_full(error: BaseException) -> bool:
    """Whether an error, ours or of DuckDB, says that nothing more can be written."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    full = ("no space left", "disk is full")
    kinds = duckdb.Error | sqlite3.Error | StageError
    return isinstance(error, kinds) and any(words in str(error).lower() for words in full)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn errors into one line and an exit code: 2 for the user's mistakes, 1 for ours."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on where it stopped.", INTERRUPTED)
    except Exception as error:  # the border of the program: everything ends as a message
        cause = unwrap_error(error)
        if isinstance(cause, UserError):
            _fail(str(cause), USER_ERROR)
        if _disk_is_full(cause):
            _fail(
                "the disk is full. Free some space and give the same command; nothing committed is lost.",
                USER_ERROR,
            )
        if isinstance(cause, StageError):
            _fail(f"{cause}. The same command tries again from there.", OUR_ERROR)
        traceback.print_exception(cause)
        _fail(
            "this is a bug in Ratchet. Nothing committed is lost; the same command goes on.",
            OUR_ERROR,
        )


def finish(run: Run) -> None:
    """Print the table of generations and write the report."""
    run.store.publish_snapshot()
    connection, _ = open_for_reading(run.folder)
    with connection:
        heading("Generations")
        console.print(generations_table(connection))
        note(f"report: {write_report(run.folder, connection)}")
    champion = run.store.registry.champion()
    note(f"champion: generation {champion.generation} in {champion.path}")
