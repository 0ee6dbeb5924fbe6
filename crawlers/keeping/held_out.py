"""Reads files of held-out texts, such as benchmarks, which no training text may contain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from crawlers.quality.fingerprints import sampled_grams
from crawlers.quality.words import plain_hashes
from infra.artifacts import read_input
from infra.errors import UserError
from infra.json_lines import parse_json_lines
from infra.records import content_key

KEY = "crawl.held_out_files"
REMEDY = "Give text files, JSON files, or files of JSON lines."
JSON_SUFFIXES = (".json", ".jsonl")
"""What the names of files end with that must hold JSON. Others are JSON lines if they read so."""


def held_out_grams(texts: Iterable[str]) -> pa.Table:
    """The sampled word n-grams of held-out texts.

    The table has the columns document_id, size (n) and hashes.
    """
    ids, sizes, hashes = [], [], []
    for text in texts:
        for size, grams in sampled_grams(plain_hashes(text)).items():
            if grams:
                ids.append(f"file:{content_key(text)}")
                sizes.append(size)
                hashes.append(grams)
    return pa.table(
        {
            "document_id": pa.array(ids, pa.string()),
            "size": pa.array(sizes, pa.int64()),
            "hashes": pa.array(hashes, pa.list_(pa.uint64())),
        }
    )


def held_out_texts(files: Sequence[str]) -> Iterator[str]:
    """The texts of some files: the paragraphs of a text file, and all strings of a JSON file.

    A file of JSON is one value, or lines of values, whatever its name says: a text of lines that
    are all JSON objects is read as these, since their strings may be written with escapes.

    Raises:
        UserError: if a file cannot be read, or one with the name of a JSON file has no JSON.
    """
    for name in files:
        yield from _texts(Path(name))


def _texts(file: Path) -> Iterator[str]:
    data = _read(file)
    values = _json_values(file, data)
    if values is None:
        yield from _decoded(file, data).split("\n\n")
    else:
        yield from (text for value in values for text in _strings(value))


def _json_values(file: Path, data: bytes) -> list[object] | None:
    """The JSON lines of a file, or the one value in it; None for a text file."""
    is_json = file.suffix in JSON_SUFFIXES
    if not data.strip() or not (is_json or data.lstrip().startswith((b"{", b"["))):
        return None
    try:
        return [line.value for line in parse_json_lines(data, file, KEY, REMEDY)]
    except UserError:
        if file.suffix == ".jsonl":
            raise
    try:
        return [json.loads(_decoded(file, data))]
    except (ValueError, RecursionError) as error:
        if is_json:
            problem = f"it is not valid JSON ({error})."
            raise UserError(KEY, file, problem, REMEDY) from None
    return None


def _read(file: Path) -> bytes:
    """The bytes of a file without a byte order mark."""
    try:
        return read_input(file).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise _unreadable(file, error) from None


def _decoded(file: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except ValueError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(KEY, file, f"the file cannot be read ({error}).", REMEDY)


def _strings(value: object) -> Iterator[str]:
    """All strings inside a JSON value, without the keys of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
