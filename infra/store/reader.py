"""Reading a run that may be working: the database if it is free, else the last Parquet snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from infra.errors import UserError
from infra.records.arrow import from_table
from infra.store.database import check_layout, open_database

QueryRow = dict[str, Any]
"""One row of a query, by column name."""
Record = TypeVar("Record")


class Reader:
    """Read-only access to a run. The queries themselves are in `infra.store.queries`.

    `freshness` says how old the data are; it is empty if they come from the database itself.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, freshness: str = "") -> None:
        self._connection = connection
        self.freshness = freshness

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[QueryRow]:
        """The rows of a query."""
        cursor = self._connection.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """The rows of a query as an Arrow table."""
        return self._connection.sql(sql, params=list(parameters)).to_arrow_table()

    def records(
        self, record_type: type[Record], sql: str, parameters: Sequence[object] = ()
    ) -> list[Record]:
        """The rows of a query as records; its columns are the fields of the record type."""
        return from_table(record_type, self.table(sql, parameters))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


def open_reader(run: Path, wait_s: float = 0.0) -> Reader:
    """Open the run in this folder for reading.

    If another process has the database open for `wait_s` seconds, the last snapshot is read.

    Raises:
        UserError: if there is no run, or its database cannot be read.
    """
    database = run / "ratchet.duckdb"
    if not database.exists():
        remedy = "Give the folder that a run printed at its start."
        raise UserError("--run", run, "there is no run here.", remedy)
    try:
        connection = open_database(str(database), read_only=True, wait_s=wait_s)
        check_layout(connection, str(database))
        return Reader(connection)
    except UserError as error:
        latest = run / "snapshots" / "latest"
        if "another process" not in str(error) or not latest.exists():
            raise
    return _open_snapshot(latest.resolve())


def _open_snapshot(folder: Path) -> Reader:
    connection = duckdb.connect(":memory:")
    for file in sorted(folder.glob("*.parquet")):
        connection.read_parquet(str(file)).to_table(file.stem)
    taken = datetime.fromtimestamp(folder.stat().st_mtime)
    return Reader(connection, f"the run is working; this is its state of {taken:%Y-%m-%d %H:%M:%S}")
