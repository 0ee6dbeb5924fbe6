"""Reading WARC records that tests have in memory or in a store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from crawlers.keeping import warc
from infra.store import Store


def read_record(packed: bytes) -> warc.Capture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.warc.gz"
        path.write_bytes(packed)
        return next(warc.read(path, max_bytes=2**30))


def packed_record(folder: Path, name: str, offset: int, length: int) -> bytes:
    with (folder / name).open("rb") as file:
        file.seek(offset)
        return file.read(length)


def body_record(store: Store, page_id: str) -> bytes:
    """The WARC record of a page; b"" if its body is not kept."""
    rows = store.database.rows(
        "SELECT warc_file, warc_offset, warc_length FROM page WHERE page_id = ?", [page_id]
    )
    if not rows or not rows[0][0]:
        return b""
    return packed_record(store.crawl.archive.folder, *rows[0])
