"""WARC files of a run: appended to, synced, and only then known to the database.

Records come ready made (one gzip member each); here they are put one behind another. A record that
a killed process left behind its last commit is cut off when the archive is opened again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

MAX_FILE_BYTES = 2**30
_EMPTY_RECORD = (
    b"WARC/1.1\r\nWARC-Type: metadata\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
    b"WARC-Date: 1970-01-01T00:00:00Z\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n\r\n\r\n"
)


class Archive:
    """A folder of WARC files. `committed` has, by file name, where its last known record ends."""

    def __init__(self, folder: Path, committed: Mapping[str, int]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.warc.gz"):
            end = committed.get(file.name, 0)
            if end == 0:
                file.unlink()
            elif file.stat().st_size > end:
                os.truncate(file, end)
        self._file: BinaryIO | None = None
        self._name = max(committed, default="")

    def append(self, records: Sequence[bytes], warcinfo: bytes) -> list[tuple[str, int, int]]:
        """Write records, synced to disk; where each lies as (file, offset, length). `warcinfo`
        begins a new file.
        """
        places = []
        begun: dict[str, int] = {}
        try:
            for record in records:
                file = self._current(warcinfo)
                offset = file.tell()
                begun.setdefault(self._name, offset)
                file.write(record)
                places.append((self._name, offset, len(record)))
                if file.tell() >= MAX_FILE_BYTES:
                    self._sync()
            self._sync()
        except OSError:  # no space: what was written in part must not stand before the next record
            self.close()
            for name, offset in begun.items():
                os.truncate(self.folder / name, offset)
            raise
        return places

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def _current(self, warcinfo: bytes) -> BinaryIO:
        """The file to append to: the last one until it is large, then the next number."""
        if self._file is not None and self._file.tell() >= MAX_FILE_BYTES:
            self._file.close()
            self._file = None
        if self._file is None:
            last = self.folder / self._name
            if not self._name or not last.exists() or last.stat().st_size >= MAX_FILE_BYTES:
                number = int(self._name.split(".")[0].rsplit("-", 1)[-1]) + 1 if self._name else 1
                self._name = f"ratchet-{number:05d}.warc.gz"
            self._file = (self.folder / self._name).open("ab")
            if self._file.tell() == 0:
                self._file.write(warcinfo)
        return self._file

    def read(self, name: str, offset: int, length: int) -> bytes:
        """One record's bytes."""
        with (self.folder / Path(name).name).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def blank(self, name: str, gone: Sequence[tuple[int, int]]) -> None:
        """Overwrite records (offset, length) in place by empty ones of the same length; other
        offsets stay.
        """
        self.close()
        with (self.folder / Path(name).name).open("r+b") as file:
            for offset, length in gone:
                file.seek(offset)
                file.write(blank_member(length))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Let go of the open file."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # a full disk is reported where it was written to
                file.close()


def blank_member(length: int) -> bytes:
    """Gzip members of exactly `length` bytes that hold nothing but empty WARC records.

    The room is filled by gzip's extra field (RFC 1952, FEXTRA), which readers skip. Members without
    any content would do as well, but fastwarc 2.0 takes one for the end of the file.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = deflate.compress(_EMPTY_RECORD) + deflate.flush()
    trailer = zlib.crc32(_EMPTY_RECORD).to_bytes(4, "little") + len(_EMPTY_RECORD).to_bytes(
        4, "little"
    )
    header = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
    least = len(header) + 2 + len(content) + len(trailer)
    parts = []
    while length:
        size = length if length <= least + 0xFFFF else min(length - least, least + 0xFFFF)
        if size < least:
            raise ValueError(f"an empty record takes at least {least} bytes")
        extra = size - least
        parts.append(header + extra.to_bytes(2, "little") + bytes(extra) + content + trailer)
        length -= size
    return b"".join(parts)
