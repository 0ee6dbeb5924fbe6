"""Content keys, hashes and the time that records carry."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime


def content_key(*parts: object) -> str:
    """128-bit hex key of the parts, in order. Length prefixes keep ("ab", "c") and ("a", "bc")
    apart.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def unit_hash(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone; the source of every random choice on
    data.
    """
    return int(content_key(*parts)[:13], 16) / 16**13


def now() -> datetime:
    """The current time in UTC, without a time zone marker, as DuckDB's TIMESTAMP wants it."""
    return datetime.now(UTC).replace(tzinfo=None)
