"""Which run a command looks at: the one that `--run` names, else the newest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.markup import escape

from infra.console import console
from infra.store.reading import open_for_reading
from loop.runs import newest_run

RunOption = Annotated[str | None, typer.Option("--run", help="Folder of the run. [the newest below runs/]")]


def look_at(run: str | None) -> tuple[Path, duckdb.DuckDBPyConnection]:
    """A run's folder and a connection to read from; says which run it is, and how fresh what is read."""
    folder = Path(run).absolute() if run else newest_run()
    connection, freshness = open_for_reading(folder)
    console.print(f"[dim]{escape(str(folder))}{'; ' + freshness if freshness else ''}[/dim]")
    return folder, connection
