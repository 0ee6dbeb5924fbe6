"""Content keys, hashes and times of records."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime


def content_key(*parts: object) -> str:
    """A 128-bit key of the parts in order, in hexadecimal.

    Each part is hashed with its length, so ("ab", "c") and ("a", "bc") have different keys.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def unit_hash(*parts: object) -> float:
    """A number in [0, 1) that depends only on the parts. All random choices of data use it."""
    return int(content_key(*parts)[:13], 16) / 16**13


def now() -> datetime:
    """The current time in UTC without a time zone, as DuckDB's TIMESTAMP needs it."""
    return datetime.now(UTC).replace(tzinfo=None)
