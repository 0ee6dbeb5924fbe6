"""Opening the run that a command reads or changes: the one in `--run`, or the newest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from infra.console import console
from infra.errors import UserError
from loop.record.locations import DATABASE, newest_run

if TYPE_CHECKING:
    from infra.store import Store
    from infra.store.reader import Reader


def find_folder(run: str | None) -> Path:
    """The folder of the run named on the command line, or of the newest run."""
    return Path(run).absolute() if run else newest_run()


def read_run(run: str | None) -> tuple[Path, Reader]:
    """A run's folder and a reader; prints which run it is, and how old the data are.

    Raises:
        UserError: if there is no such run, or its database cannot be read.
    """
    folder = find_folder(run)
    check_database(folder)
    from infra.store.reader import open_reader

    reader = open_reader(folder)
    freshness = f"; {reader.freshness}" if reader.freshness else ""
    console.print(f"[dim]{escape(str(folder))}{freshness}[/dim]")
    return folder, reader


@contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    """The store of a run that no other process has open, for writing.

    Raises:
        UserError: if there is no run, or another process has it open.
    """
    check_database(folder)
    from infra.store import Store

    store = Store(str(folder / DATABASE), str(folder / "snapshots"))
    try:
        yield store
    finally:
        store.close()


def check_database(folder: Path) -> None:
    """Raises `UserError` if there is no run in a folder."""
    try:
        is_run = (folder / DATABASE).is_file()
    except OSError:  # a name that is too long, or a folder that may not be looked into
        is_run = False
    if not is_run:
        remedy = "Give the folder that a run printed at its start."
        raise UserError("--run", folder, "there is no run here.", remedy)
