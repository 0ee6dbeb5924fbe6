"""Reading a run that may be at work: the database if it is free, else the last Parquet snapshot."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from infra.errors import UserError
from infra.store.database import connect


def open_for_reading(run: Path) -> tuple[duckdb.DuckDBPyConnection, str]:
    """A connection to query, and words on how fresh it is ("" when it is the database itself)."""
    database = run / "ratchet.duckdb"
    if not database.exists():
        raise UserError(
            "--run",
            run,
            "there is no run here.",
            "Give the folder that a run printed at its start.",
        )
    try:
        return connect(str(database), read_only=True, wait_s=0.0), ""
    except UserError as error:
        latest = run / "snapshots" / "latest"
        if "another process" not in str(error) or not latest.exists():
            raise
    connection = duckdb.connect(":memory:")
    for file in sorted(latest.resolve().glob("*.parquet")):
        connection.read_parquet(str(file)).to_table(file.stem)
    taken = datetime.fromtimestamp(latest.resolve().stat().st_mtime)
    return connection, f"the run is at work; this is its state of {taken:%Y-%m-%d %H:%M:%S}"


def rows(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[object] | None = None
) -> list[Any]:
    """The rows of a query as dictionaries."""
    cursor = connection.execute(sql, parameters or [])
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
