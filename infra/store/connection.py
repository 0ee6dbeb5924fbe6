"""Opening, migrating, inserting and snapshotting: what every group of tables builds on."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from infra.errors import UserError
from infra.records import now
from infra.records.arrow import from_table, to_table

Record = TypeVar("Record")
SCHEMA = Path(__file__).parent / "schema"
_UNPUBLISHED = ("migration", "band", "gram")
"""Tables that only curation reads, and that are larger than all others."""
LOCK_WAIT_S = 60.0
"""How long to wait for a killed run's store process to let go of the file before giving up."""


def connect(
    path: str, read_only: bool = False, wait_s: float = LOCK_WAIT_S
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file; `UserError` when it is corrupt or another process keeps it."""
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
                raise UserError(
                    "--run",
                    path,
                    "another process has this run open.",
                    "Wait for it to end, or give another --run.",
                ) from None
            time.sleep(0.5)
        except duckdb.Error as error:
            raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> UserError:
    first_line = str(error).splitlines()[0]
    return UserError(
        "--run",
        path,
        f"the database cannot be opened ({first_line}).",
        "Restore the file from a copy, or start afresh with another --run.",
    )


class StoreBase:
    """The connection and the operations that all tables share."""

    def __init__(self, path: str, snapshot_folder: str | None = None) -> None:
        self._snapshots = Path(snapshot_folder) if snapshot_folder else None
        self._connection = connect(path)
        self._migrate()

    def _migrate(self) -> None:
        """Apply the numbered files of infra/schema that this database has not seen, each in one
        transaction.
        """
        self._connection.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT)")
        seen = {
            name for (name,) in self._connection.execute("SELECT name FROM migration").fetchall()
        }
        for file in sorted(SCHEMA.glob("*.sql")):
            if file.name in seen:
                continue
            with self._transaction():
                self._connection.execute(file.read_text(encoding="utf-8"))
                self._connection.execute("INSERT INTO migration VALUES (?)", [file.name])

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)

    def _insert_new(self, table: str, rows: pa.Table, key: Sequence[str]) -> int:
        """Insert the rows whose key is not there yet, first of equals; the number inserted.

        `table` and `key` are names in our own code, never data.
        """
        if rows.num_rows == 0:
            return 0
        self._connection.register("incoming", rows)
        try:
            columns = ", ".join(f'"{name}"' for name in rows.schema.names)
            same = " AND ".join(f"t.{k} = i.{k}" for k in key)
            # fetchall: a result that is not read to its end blocks the connection (DuckDB 2.0)
            ((inserted,),) = self._connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming i"  # noqa: S608
                f" WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE {same})"
                f" QUALIFY row_number() OVER (PARTITION BY {', '.join(key)}) = 1"
            ).fetchall()
        finally:
            self._connection.unregister("incoming")
        return int(inserted)

    def _add(
        self, table: str, record_type: type[Record], records: Sequence[Record], key: Sequence[str]
    ) -> int:
        return self._insert_new(table, to_table(record_type, records), key)

    def _records(
        self, record_type: type[Record], sql: str, parameters: Sequence[object] = ()
    ) -> list[Record]:
        return from_table(
            record_type, self._connection.sql(sql, params=list(parameters)).to_arrow_table()
        )

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(parameters)).fetchall()

    def _value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        rows = self._rows(sql, parameters)
        return rows[0][0] if rows else None

    # Facts about the run, stages and drops.

    def run_facts(self) -> dict[str, str]:
        """Everything noted with `note_run_fact`."""
        return dict(self._rows("SELECT key, value FROM run"))

    def note_run_fact(self, key: str, value: str) -> None:
        """Set one fact about the run."""
        with self._transaction():
            self._connection.execute("DELETE FROM run WHERE key = ?", [key])
            self._connection.execute("INSERT INTO run VALUES (?, ?)", [key, value])

    def start_stage(self, generation: int, name: str) -> None:
        """Note when a stage first began; a resumed stage keeps its first start."""
        if not self._rows(
            "SELECT 1 FROM stage WHERE generation = ? AND name = ?", [generation, name]
        ):
            self._connection.execute(
                "INSERT INTO stage VALUES (?, ?, ?, NULL, '{}')", [generation, name, now()]
            )

    def finish_stage(self, generation: int, name: str, summary: dict[str, Any]) -> None:
        """Mark a stage done with its numbers, and publish a snapshot for readers."""
        self._connection.execute(
            "UPDATE stage SET finished_at = ?, summary = ? WHERE generation = ? AND name = ?",
            [now(), json.dumps(summary), generation, name],
        )
        self.publish_snapshot()

    def stage_summary(self, generation: int, name: str) -> dict[str, Any] | None:
        """The numbers of a finished stage, or None while it is not finished."""
        value = self._value(
            "SELECT summary FROM stage WHERE generation = ? AND name = ? AND finished_at IS NOT NULL",
            [generation, name],
        )
        return None if value is None else dict(json.loads(value))

    def note_drops(self, generation: int, stage: str, drops: Sequence[tuple[str, str]]) -> None:
        """Count (reason, subject) pairs of records that a stage dropped; the same drop counts once."""
        rows = pa.table(
            {
                "generation": pa.array([generation] * len(drops), pa.int64()),
                "stage": pa.array([stage] * len(drops), pa.string()),
                "reason": pa.array([reason for reason, _ in drops], pa.string()),
                "subject": pa.array([subject for _, subject in drops], pa.string()),
            }
        )
        self._insert_new("dropped", rows, ["generation", "stage", "reason", "subject"])

    def publish_snapshot(self) -> None:
        """Write every table that a reader looks at as Parquet, then swap the folder in with one
        rename.
        """
        if self._snapshots is None:
            return
        self._snapshots.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self._snapshots))
        names = [
            n
            for (n,) in self._rows("SELECT table_name FROM duckdb_tables()")
            if n not in _UNPUBLISHED
        ]
        for name in names:
            path = str(scratch / f"{name}.parquet").replace("'", "''")
            self._connection.execute(f"COPY {name} TO '{path}' (FORMAT parquet)")
        pointer = self._snapshots / f".latest-{scratch.name}"
        pointer.symlink_to(scratch.name)
        pointer.replace(self._snapshots / "latest")
        for old in self._snapshots.glob("snapshot-*"):
            if old.name != scratch.name:
                shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        """Publish a last snapshot and let go of the file."""
        self.publish_snapshot()
        self._connection.close()


class _Transaction:
    """`with` block that commits, or rolls back on any error."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN")

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self._connection.execute("COMMIT")
        else:
            with suppress(duckdb.Error):
                self._connection.execute("ROLLBACK")
