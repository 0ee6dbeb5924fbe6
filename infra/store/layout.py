"""Whether a store still has the tables that its schema files make, with a value in each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache

from infra.store.database import STORE_SCHEMA_FOLDER, Database

_COLUMNS = """
SELECT table_name, column_name, data_type FROM duckdb_columns()
WHERE NOT internal AND schema_name = 'main' AND table_name <> 'migration'
ORDER BY table_name, column_index
"""
_MAY_BE_NULL = {("stage", "finished_at")}
"""A stage that has not finished has no end."""
_Types = dict[str, dict[str, str]]


def layout_problems(database: Database) -> Iterator[tuple[str, str]]:
    """(table or column, problem) for each one that is missing or has another type."""
    present = _types(database)
    for table, columns in _expected().items():
        if table not in present:
            yield f"table {table}", "it is missing"
            continue
        for column, kind in columns.items():
            actual = present[table].get(column)
            if actual != kind:
                problem = f"it is {actual}, not {kind}" if actual else "it is missing"
                yield f"column {column} of {table}", problem


def empty_columns(database: Database, tables: Iterable[str]) -> Iterator[tuple[str, int]]:
    """(column of a table, number of rows) where a value is missing, also in a list."""
    for table in tables:
        columns = [
            (column, kind)
            for column, kind in _expected()[table].items()
            if (table, column) not in _MAY_BE_NULL
        ]
        counts = ", ".join(f"count(*) FILTER ({_is_empty(*one)})" for one in columns)
        (numbers,) = database.rows(f"SELECT {counts} FROM {table}")  # noqa: S608
        for (column, _), number in zip(columns, numbers, strict=True):
            if number:
                yield f"column {column} of {table}", int(number)


def _is_empty(column: str, kind: str) -> str:
    in_list = f" OR len({column}) <> list_count({column})" if kind.endswith("[]") else ""
    return f"{column} IS NULL{in_list}"


@cache
def _expected() -> _Types:
    """The columns of all tables, as the schema files make them."""
    fresh = Database(":memory:")
    for group in sorted(folder.name for folder in STORE_SCHEMA_FOLDER.iterdir()):
        fresh.migrate(group)
    types = _types(fresh)
    fresh.connection.close()
    return types


def _types(database: Database) -> _Types:
    types = defaultdict[str, dict[str, str]](dict)
    for table, column, kind in database.rows(_COLUMNS):
        types[table][column] = kind
    return dict(types)
