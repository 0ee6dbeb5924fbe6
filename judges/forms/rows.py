"""Rows of the files that people have: JSON, JSON lines, Parquet, and folders of datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infra.artifacts import read_input
from infra.errors import UserError
from infra.json_lines import read_json_lines

JSON_LINES, JSON, PARQUET, ARROW = (".jsonl", ".ndjson"), (".json",), (".parquet",), (".arrow",)
SUFFIXES = (*JSON_LINES, *JSON, *PARQUET, *ARROW)
NOT_DATA = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "result.json"}
)
"""Files beside the data, of Hugging Face's datasets and of ours."""
KINDS = "JSON lines, JSON, Parquet, or a folder of them (also one that datasets.save_to_disk wrote)"


class FileRow(NamedTuple):
    """One row of a file; the first one has number 1. Keys whose value is null are left out.

    `where` names it in errors.
    """

    where: str
    number: int
    value: dict[str, Any]


def data_files(path: Path, key: str, remedy: str) -> list[Path]:
    """Return a file, or the files of data in a folder.

    Raises:
        UserError: about `key`, if there are none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix in SUFFIXES and file.name not in NOT_DATA and file.is_file()
    )
    if not files:
        raise UserError(key, path, "there are no files of data at this path.", remedy)
    return files


def file_rows(file: Path, key: str, remedy: str) -> Iterator[FileRow]:
    """Yield the rows of a file, by its suffix; a file without a known one is read as JSON lines.

    Raises:
        UserError: about `key`, for a file that cannot be read, or a row that is no object.
    """
    name = "row" if file.suffix in (*JSON, *PARQUET, *ARROW) else "line"
    for number, value in _numbered(file, key, remedy):
        where = f"{file}, {name} {number}"
        if not isinstance(value, dict):
            raise UserError(key, where, "it is not a JSON object.", remedy)
        yield FileRow(where, number, {k: v for k, v in value.items() if v is not None})


def _numbered(file: Path, key: str, remedy: str) -> Iterator[tuple[int, Any]]:
    if file.suffix in JSON:
        return enumerate(_json_values(file, key, remedy), start=1)
    if file.suffix in (*PARQUET, *ARROW):
        return enumerate(_table_rows(file, key, remedy), start=1)
    return ((line.number, line.value) for line in read_json_lines(file, key, remedy))


def _json_values(file: Path, key: str, remedy: str) -> Iterator[Any]:
    """The values of a list, of the list under `data` or `rows`, or one value."""
    try:
        value = json.loads(read_input(file).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(key, file, f"it cannot be read ({error}).", remedy) from None
    if isinstance(value, dict) and len(value) <= 2:
        lists = [value[name] for name in ("data", "rows") if isinstance(value.get(name), list)]
        value = lists[0] if lists else value
    yield from value if isinstance(value, list) else [value]


def _table_rows(file: Path, key: str, remedy: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix in PARQUET:
            with pq.ParquetFile(file) as source:
                for batch in source.iter_batches(1024):
                    yield from batch.to_pylist()
        else:
            with pa.memory_map(str(file)) as mapped:
                for batch in _arrow_batches(mapped):
                    batch.validate(full=True)  # else damaged offsets are read as they are
                    yield from batch.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        problem = f"it cannot be read ({str(error).splitlines()[0][:200]})."
        raise UserError(key, file, problem, remedy) from None


def _arrow_batches(mapped: Any) -> Iterator[Any]:
    """The batches of a stream, as datasets writes it, or of an Arrow file."""
    import pyarrow as pa

    try:
        yield from pa.ipc.open_stream(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        reader = pa.ipc.open_file(mapped)
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
