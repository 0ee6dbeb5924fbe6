"""Reads files of JSON lines: one JSON value per line, in UTF-8 (jsonlines.org).

Also checks the values for what users get wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from infra.artifacts import read_input
from infra.errors import UserError


class JsonLine(NamedTuple):
    """One line of a file; the first line has number 1."""

    number: int
    value: Any


def read_json_lines(path: Path, key: str, remedy: str) -> Iterator[JsonLine]:
    """Yield every line that is not blank.

    Lines end at a line feed only: U+2028 and other separators are legal inside a JSON string. A
    byte order mark at the start is accepted.

    Raises:
        UserError: about `key`, if the file cannot be read or a line is not valid JSON.
    """
    try:
        data = read_input(path)
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror or error})."
        raise UserError(key, path, problem, remedy) from None
    yield from parse_json_lines(data, path, key, remedy)


def parse_json_lines(data: bytes, path: Path, key: str, remedy: str) -> Iterator[JsonLine]:
    """Yield every line that is not blank of a file that was read; as `read_json_lines`."""
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield JsonLine(number, _parse(line, f"{path}, line {number}", key, remedy))


def _parse(line: bytes, where: str, key: str, remedy: str) -> Any:
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        problem = f"it is not valid UTF-8 (byte {error.start + 1} of the line)."
    except (ValueError, RecursionError) as error:  # too deeply nested, or numbers too long
        problem = f"it is not valid JSON ({str(error)[:120]})."
    raise UserError(key, where, problem, remedy)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Of a key that comes twice, other readers take another value than we do."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f'the key "{twice[:40]}" comes twice in one object')
    return dict(pairs)


def _no_number(name: str) -> None:
    """Python writes NaN and Infinity, which JSON does not have (RFC 8259)."""
    raise ValueError(f"{name} is not a number of JSON")


def text_at(row: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """The text of a key; `default` if the key is missing.

    Raises:
        ValueError: if the key is missing and has no default, or its value is not a string.
    """
    value = row.get(key, default) if default is not None else value_at(row, key)
    if not isinstance(value, str):
        raise ValueError(f'the value of "{key}" is not a string')
    return value


def value_at(row: Mapping[str, Any], key: str) -> Any:
    """The value of a key. Raises `ValueError` if the key is missing, or the row is no object."""
    if not isinstance(row, Mapping):
        raise ValueError("this is not a JSON object")
    if key not in row:
        raise ValueError(f'the key "{key}" is missing')
    return row[key]


def without_nan(value: Any) -> Any:
    """A value for a JSON file, with None for each NaN in it: JSON has no such number (RFC 8259)."""
    if isinstance(value, Mapping):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
