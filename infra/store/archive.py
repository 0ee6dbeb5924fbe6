"""The WARC files of a run: records are appended and synced to disk before the database knows them.

Records arrive as gzip members. Bytes that a killed process wrote after its last commit are cut off
when the archive is opened again.
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
    b"WARC/1.1\r\n"
    b"WARC-Type: metadata\r\n"
    b"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
    b"WARC-Date: 1970-01-01T00:00:00Z\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 0\r\n\r\n\r\n\r\n"
)


class Archive:
    """A folder of WARC files. `committed` is file name to the end of its last committed record."""

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
        """Append records and sync them to disk; returns (file, offset, length) of each.

        `warcinfo` is the first record of a new file. If writing fails, the files are cut back to
        their old length.
        """
        locations = []
        starts: dict[str, int] = {}
        try:
            for record in records:
                file = self._current(warcinfo)
                offset = file.tell()
                starts.setdefault(self._name, offset)
                file.write(record)
                locations.append((self._name, offset, len(record)))
                if file.tell() >= MAX_FILE_BYTES:
                    self._sync()
            self._sync()
        except OSError:  # for example a full disk
            self.close()
            for name, offset in starts.items():
                os.truncate(self.folder / name, offset)
            raise
        return locations

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def _current(self, warcinfo: bytes) -> BinaryIO:
        """The file to append to: the last one, or a new one if the last has reached its limit."""
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

    def blank(self, name: str, records: Sequence[tuple[int, int]]) -> None:
        """Overwrite records (offset, length) with empty ones of the same length.

        The offsets of other records stay valid.
        """
        self.close()
        with (self.folder / Path(name).name).open("r+b") as file:
            for offset, length in records:
                file.seek(offset)
                file.write(blank_member(length))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file that is open for appending."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # a full disk was reported by the write
                file.close()


def blank_member(length: int) -> bytes:
    """Gzip members of exactly `length` bytes that contain only empty WARC records.

    They are padded with gzip's extra field (RFC 1952, FEXTRA), which readers skip. A member without
    any content would also do, but fastwarc 2.0 takes it for the end of the file.

    Raises:
        ValueError: if `length` is too small for a record.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = deflate.compress(_EMPTY_RECORD) + deflate.flush()
    checksum = zlib.crc32(_EMPTY_RECORD).to_bytes(4, "little")
    trailer = checksum + len(_EMPTY_RECORD).to_bytes(4, "little")
    header = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
    least = len(header) + 2 + len(content) + len(trailer)
    parts = []
    while length:
        size = length if length <= least + 0xFFFF else min(length - least, least + 0xFFFF)
        if size < least:
            raise ValueError(f"an empty record needs at least {least} bytes, not {size}")
        extra = size - least
        parts.append(header + extra.to_bytes(2, "little") + bytes(extra) + content + trailer)
        length -= size
    return b"".join(parts)
