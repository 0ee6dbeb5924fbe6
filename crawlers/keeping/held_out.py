"""Reads files of held-out texts, such as benchmarks, which no training text may contain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from crawlers.quality.fingerprints import sampled_grams
from crawlers.quality.words import plain_hashes
from infra.artifacts import read_input
from infra.errors import UserError
from infra.json_lines import read_json_lines
from infra.records import content_key

KEY = "crawl.held_out_files"
REMEDY = "Give text files, JSON files (.json), or files of JSON lines (.jsonl)."


def held_out_grams(files: Sequence[str]) -> pa.Table:
    """The sampled word n-grams of all texts in some files.

    Texts are the paragraphs of a text file, and all strings of a JSON or JSON-lines file. The table
    has the columns document_id, size (n) and hashes.

    Raises:
        UserError: if a file cannot be read.
    """
    ids, sizes, hashes = [], [], []
    for name in files:
        for text in _texts(Path(name)):
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


def _texts(file: Path) -> Iterator[str]:
    if file.suffix == ".jsonl":
        for line in read_json_lines(file, KEY, REMEDY):
            yield from _strings(line.value)
    elif file.suffix == ".json":
        content = _read(file)
        if content.strip():
            yield from _strings(_parse_json(file, content))
    else:
        yield from _read(file).split("\n\n")


def _read(file: Path) -> str:
    try:
        return read_input(file).decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(KEY, file, f"the file cannot be read ({error}).", REMEDY) from None


def _parse_json(file: Path, content: str) -> object:
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(KEY, file, f"it is not valid JSON ({error}).", REMEDY) from None
    return value


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
