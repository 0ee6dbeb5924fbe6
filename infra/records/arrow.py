"""Converts records to Arrow tables and back. Records are sent between processes as Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, get_type_hints

import pyarrow as pa

Record = TypeVar("Record")

_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.large_binary(),
    datetime: pa.timestamp("us"),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
}


def _arrow_type(field_type: Any) -> pa.DataType:
    """The Arrow type of a field; a nested record is a struct."""
    if not is_dataclass(field_type):
        return _ARROW_TYPES[field_type]
    hints = get_type_hints(field_type)
    return pa.struct([(f.name, _arrow_type(hints[f.name])) for f in fields(field_type)])


def _to_arrow(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _from_arrow(field_type: Any, value: Any) -> Any:
    """The value of a field, from a value of `to_pylist`."""
    if is_dataclass(field_type) and isinstance(field_type, type):
        hints = get_type_hints(field_type)
        return field_type(**{name: _from_arrow(hints[name], v) for name, v in value.items()})
    return tuple(value) if isinstance(value, list) else value


@cache
def arrow_schema(record_type: type) -> pa.Schema:
    """The Arrow schema of a record type: one column for each field, in order."""
    hints = get_type_hints(record_type)
    return pa.schema([(f.name, _arrow_type(hints[f.name])) for f in fields(record_type)])


def to_table(record_type: type[Record], records: Sequence[Record]) -> pa.Table:
    """Records of one type as an Arrow table, which may be empty."""
    schema = arrow_schema(record_type)  # type: ignore[arg-type]
    columns = [
        pa.array([_to_arrow(getattr(r, name)) for r in records], schema.field(name).type)
        for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def rows_table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows (at least one) as a table; their values are in the order of the schema's columns."""
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(c, kind) for c, kind in zip(columns, schema.types, strict=True)], schema=schema
    )


def from_table(record_type: type[Record], table: pa.Table) -> list[Record]:
    """The records of a table whose columns carry the record's field names, in any order."""
    names = [f.name for f in fields(record_type)]  # type: ignore[arg-type]
    hints = get_type_hints(record_type)
    columns = [table.column(name).to_pylist() for name in names]
    columns = [
        [_from_arrow(hints[name], v) for v in c] if c and isinstance(c[0], list | dict) else c
        for name, c in zip(names, columns, strict=True)
    ]
    return [record_type(*values) for values in zip(*columns, strict=True)]
