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
from infra.json_lines import read_json_lines
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
    content = _read(file)
    if not content.strip():
        return
    if file.suffix in JSON_SUFFIXES or content.lstrip()[0] in "{[":
        values = _json_values(file, content)
        if values is not None:
            for value in values:
                yield from _strings(value)
            return
    yield from content.split("\n\n")


def _json_values(file: Path, content: str) -> list[object] | None:
    """The JSON value or lines of a file; None for a text file that is neither."""
    try:
        return [json.loads(content)]
    except (ValueError, RecursionError):
        pass
    try:
        return [line.value for line in read_json_lines(file, KEY, REMEDY)]
    except UserError:
        if file.suffix in JSON_SUFFIXES:
            raise
    return None


def _read(file: Path) -> str:
    try:
        return read_input(file).removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(KEY, file, f"the file cannot be read ({error}).", REMEDY) from None


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
