"""Reads and writes WARC records (ISO 28500, WARC 1.1).

Each record is its own gzip member, so that it can be read by its offset alone.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from isal import igzip

REVISIT_PROFILE = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
NOT_MODIFIED_PROFILE = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
COMPRESSION_LEVEL = 1
"""Fast and weak: a crawl runs out of CPU time before it runs out of disk."""
_DROPPED_HEADERS = frozenset(
    {"content-encoding", "transfer-encoding", "content-length", "set-cookie"}
)


@dataclass(frozen=True)
class Capture:
    """One response read from a WARC file.

    `offset` is where its record begins; -1 if it came from another file. Header names are lower
    case.
    """

    url: str
    status: int
    headers: dict[str, list[str]]
    body: bytes
    fetched_at: datetime
    offset: int
    is_text: bool


def payload_digest(body: bytes) -> str:
    """The SHA-1 of a body in the form of WARC headers."""
    return "sha1:" + base64.b32encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()


def _head(status: int, headers: Mapping[str, list[str]], length: int) -> bytes:
    """The head of an HTTP response whose body is stored decoded.

    Line breaks in header values become blanks, so a value cannot add a header.
    """
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}"]
    for name, values in headers.items():
        if name not in _DROPPED_HEADERS:
            lines += [f"{name}: {' '.join(value.split())}" for value in values]
    lines.append(f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", errors="replace")


def _compress(record: WarcRecord) -> bytes:
    buffer = io.BytesIO()
    record.write(buffer)
    return bytes(igzip.compress(buffer.getvalue(), COMPRESSION_LEVEL, mtime=0))


def _record(
    kind: WarcRecordType, url: str, at: datetime, block: bytes, content_type: str
) -> WarcRecord:
    record = WarcRecord()
    record.init_headers(record_type=kind)
    if url:
        record.headers["WARC-Target-URI"] = url
    record.headers["WARC-Date"] = at.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record.headers["Content-Type"] = content_type
    record.set_bytes_content(block)
    return record


def warcinfo(user_agent: str, at: datetime) -> bytes:
    """The first record of a WARC file."""
    block = (
        "software: Ratchet\r\n"
        "format: WARC File Format 1.1\r\n"
        f"http-header-user-agent: {user_agent}\r\n"
    )
    return _compress(
        _record(WarcRecordType.warcinfo, "", at, block.encode(), "application/warc-fields")
    )


def response(
    url: str, at: datetime, address: str, status: int, headers: Mapping[str, list[str]], body: bytes
) -> bytes:
    """The record of a response with its decoded body."""
    block = _head(status, headers, len(body)) + body
    record = _record(WarcRecordType.response, url, at, block, "application/http; msgtype=response")
    record.headers["WARC-Payload-ParsedBody"] = payload_digest(body)
    if address:
        record.headers["WARC-IP-Address"] = address
    return _compress(record)


def revisit(
    url: str, at: datetime, address: str, status: int, headers: Mapping[str, list[str]], body: bytes
) -> bytes:
    """The record of a response without news: status 304, or the same bytes as at the last visit."""
    record = _record(
        WarcRecordType.revisit,
        url,
        at,
        _head(status, headers, 0),
        "application/http; msgtype=response",
    )
    record.headers["WARC-Profile"] = NOT_MODIFIED_PROFILE if status == 304 else REVISIT_PROFILE
    if body:
        record.headers["WARC-Payload-ParsedBody"] = payload_digest(body)
    if address:
        record.headers["WARC-IP-Address"] = address
    return _compress(record)


_READ_TYPES = WarcRecordType.response | WarcRecordType.conversion | WarcRecordType.resource


def _capture(record: WarcRecord, max_bytes: int) -> Capture:
    headers: dict[str, list[str]] = {}
    status = 200
    http: Any = record.http_headers  # typed as never None
    if http is not None:
        status = int(http.status_code or 0)
        for name, value in http.asdict().items():
            headers.setdefault(name.lower(), []).append(value)
    else:
        headers["content-type"] = [record.headers.get("Content-Type") or "text/plain"]
    return Capture(
        url=(record.headers.get("WARC-Target-URI") or "").strip("<>"),
        status=status,
        headers=headers,
        body=record.reader.read(max_bytes + 1),
        fetched_at=(record.record_date or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None),
        offset=record.stream_pos,
        is_text=record.record_type == WarcRecordType.conversion,
    )


def read(path: Path, start: int = 0, max_bytes: int = 2**24) -> Iterator[Capture]:
    """Yield responses and extracted texts (WET) of a WARC file from an offset on, bodies decoded.

    At most `max_bytes` + 1 bytes of a body are read, so that a caller can see that it is too large.
    """
    with path.open("rb") as file:
        file.seek(start)
        for record in ArchiveIterator(
            file, record_types=_READ_TYPES, parse_http=True, auto_decode="all"
        ):
            yield _capture(record, max_bytes)
