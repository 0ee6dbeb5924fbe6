"""Which run a command looks at, or changes: the one that `--run` names, else the newest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.markup import escape

from infra.console import console
from infra.errors import UserError
from infra.store import Store
from infra.store.reading import open_for_reading
from loop.record.run_folder import DATABASE, newest_run

RunOption = Annotated[
    str | None, typer.Option("--run", help="Folder of the run. [the newest below runs/]")
]


def folder_of(run: str | None) -> Path:
    """The folder of the run that is named, or of the newest."""
    return Path(run).absolute() if run else newest_run()


def look_at(run: str | None) -> tuple[Path, duckdb.DuckDBPyConnection]:
    """A run's folder and a connection to read from; says which run it is, and how fresh what is
    read.
    """
    folder = folder_of(run)
    connection, freshness = open_for_reading(folder)
    console.print(f"[dim]{escape(str(folder))}{'; ' + freshness if freshness else ''}[/dim]")
    return folder, connection


@contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    """The store of a run that nobody else has open, to write to. Raises `UserError`."""
    if not (folder / DATABASE).exists():
        raise UserError("--run", folder, "there is no run here.", "Give the folder of a run.")
    store = Store(str(folder / DATABASE), str(folder / "snapshots"))
    try:
        yield store
    finally:
        store.close()
