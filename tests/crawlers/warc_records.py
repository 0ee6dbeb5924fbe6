"""Reading one WARC record that a test has in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from crawlers.keeping import warc


def read_record(packed: bytes) -> warc.Capture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.warc.gz"
        path.write_bytes(packed)
        return next(warc.read(path, max_bytes=2**30))
