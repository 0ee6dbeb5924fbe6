"""One DuckDB connection: opening, migrating, inserting, reading, and snapshots for readers."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import duckdb
import pyarrow as pa

from infra.artifacts import file_digest
from infra.errors import UserError
from infra.records.arrow import from_table, to_table

Record = TypeVar("Record")
STORE_SCHEMA_FOLDER = Path(__file__).parent / "schema"
_UNPUBLISHED = ("migration", "band", "gram")
"""Tables that are left out of snapshots: they are large, and only curation reads them."""
LOCK_WAIT_S = 60.0
"""How long to wait for the store process of a killed run to close the file, in seconds."""


def open_database(
    path: str, read_only: bool = False, wait_s: float = LOCK_WAIT_S
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file; waits up to `wait_s` seconds while another process has it open.

    Raises:
        UserError: if the file is corrupt, or another process still has it open.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return duckdb.connect(
                path, read_only=read_only, config={"threads": 2, "memory_limit": "4GB"}
            )
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise _unreadable(path, error) from None
            if time.monotonic() > deadline:
                problem = "another process has this run open."
                remedy = "Wait until it ends, or give another --run."
                raise UserError("--run", path, problem, remedy) from None
            time.sleep(0.5)
        except duckdb.Error as error:
            raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> UserError:
    first_line = str(error).splitlines()[0]
    return UserError(
        "--run",
        path,
        f"the database cannot be opened ({first_line}).",
        "Restore the file from a backup, or start a new run with another --run.",
    )


def check_layout(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Refuse a database whose tables are not ours, or were made by other schema files.

    A database without any table is a run that was stopped before it began.

    Raises:
        UserError: if the file was written by another program or an earlier version.
    """
    sql = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'migration'"
    columns = [str(name) for (name,) in connection.execute(sql).fetchall()]
    if columns not in (["name"], ["name", "digest"]):
        if connection.execute("SELECT 1 FROM duckdb_tables() LIMIT 1").fetchall():
            problem = "this database was not made by Ratchet."
            remedy = "Give the folder that a run printed at its start."
            raise UserError("--run", path, problem, remedy)
        return
    applied = connection.execute("SELECT * FROM migration").fetchall()
    if not {tuple(row) for row in applied} <= _schema_files():
        problem = "this run was made by another version of Ratchet, with other tables."
        raise UserError("--run", path, problem, "Start a new run with another --run.")


def _schema_files() -> set[tuple[str, str]]:
    """(name, digest) of each of our schema files."""
    files = STORE_SCHEMA_FOLDER.glob("*/*.sql")
    return {(f"{file.parent.name}/{file.name}", file_digest(file)) for file in files}


class Database:
    """The connection that all groups of tables share.

    Names of tables and columns are written in our own code and never come from data.
    """

    def __init__(self, path: str, snapshot_folder: str | None = None) -> None:
        self._snapshots = Path(snapshot_folder) if snapshot_folder else None
        self.connection = open_database(path)
        check_layout(self.connection, path)
        self.connection.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT, digest TEXT)")

    def migrate(self, group: str) -> None:
        """Apply the numbered files of a group's schema folder that were not applied before.

        Each file is applied in one transaction.

        Raises:
            UserError: if its tables are there already, although it is not in the list.
        """
        applied = {name for (name,) in self.rows("SELECT name FROM migration")}
        files = sorted((STORE_SCHEMA_FOLDER / group).glob("*.sql"))
        assert files, f"the schema files of {group} are not installed"
        for file in files:
            name, digest = f"{group}/{file.name}", file_digest(file)
            if name not in applied:
                self._apply(name, digest, file.read_text(encoding="utf-8"))

    def _apply(self, name: str, digest: str, sql: str) -> None:
        try:
            with self.transaction():
                self.connection.execute(sql)
                self.connection.execute("INSERT INTO migration VALUES (?, ?)", [name, digest])
        except duckdb.CatalogException as error:
            problem = f"its tables do not fit its list of schema files ({name}: {error})."
            remedy = "Restore the file from a backup, or start a new run with another --run."
            raise UserError("--run", None, problem, remedy) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end of the block, or roll back on any error."""
        self.connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(duckdb.Error):
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def insert_new(self, table: str, rows: pa.Table, key: Sequence[str]) -> int:
        """Insert the rows whose key is new, the first row of each key; returns their number."""
        if rows.num_rows == 0:
            return 0
        self.connection.register("incoming", rows)
        try:
            columns = ", ".join(f'"{name}"' for name in rows.schema.names)
            same = " AND ".join(f"t.{k} = i.{k}" for k in key)
            # fetchall: a result that is not read to its end blocks the connection (DuckDB 2.0)
            ((inserted,),) = self.connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming i"  # noqa: S608
                f" WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE {same})"
                f" QUALIFY row_number() OVER (PARTITION BY {', '.join(key)}) = 1"
            ).fetchall()
        finally:
            self.connection.unregister("incoming")
        return int(inserted)

    def add(
        self, table: str, record_type: type[Record], records: Sequence[Record], key: Sequence[str]
    ) -> int:
        """Insert the records whose key is new; returns their number."""
        return self.insert_new(table, to_table(record_type, records), key)

    def records(
        self, record_type: type[Record], sql: str, parameters: Sequence[object] = ()
    ) -> list[Record]:
        """The rows of a query as records; its columns are the fields of the record type."""
        result = self.connection.sql(sql, params=list(parameters)).to_arrow_table()
        return from_table(record_type, result)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query as tuples."""
        return self.connection.execute(sql, list(parameters)).fetchall()

    def value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The first value of the first row of a query; None if there is no row."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def publish_snapshot(self) -> None:
        """Write the tables that readers use as Parquet, then replace the old snapshot by a rename.

        Does nothing without a snapshot folder.
        """
        if self._snapshots is None:
            return
        self._snapshots.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self._snapshots))
        names = {name for (name,) in self.rows("SELECT table_name FROM duckdb_tables()")}
        for name in sorted(names.difference(_UNPUBLISHED)):
            path = str(scratch / f"{name}.parquet").replace("'", "''")
            self.connection.execute(f"COPY {name} TO '{path}' (FORMAT parquet)")
        pointer = self._snapshots / f".latest-{scratch.name}"
        pointer.symlink_to(scratch.name)
        pointer.replace(self._snapshots / "latest")
        for old in self._snapshots.glob("snapshot-*"):
            if old.name != scratch.name:
                shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        """Publish a last snapshot and close the file."""
        self.publish_snapshot()
        self.connection.close()


class TableGroup:
    """Tables of one topic. `schema` names the folder of their schema files."""

    schema: ClassVar[str]

    def __init__(self, database: Database) -> None:
        self._db = database
        database.migrate(self.schema)
