"""The size of a text: estimated tokens, and bytes after compression."""

from __future__ import annotations

import zlib
from collections.abc import Callable

TokenCount = Callable[[str], int]
"""Counts or estimates the tokens of a text."""
CHARS_PER_TOKEN = 3.2
"""Measured with SmolLM2's tokenizer on reference pages with code; used for budgets only."""


def estimated_tokens(text: str) -> int:
    """Return the approximate number of tokens of a text; budgets are counted in these."""
    return int(len(text) / CHARS_PER_TOKEN) + 1


def compressed_size(text: str) -> int:
    """The bytes of a text after compression by zlib."""
    return len(zlib.compress(text.encode(errors="replace"), 9))


def compression_ratio(text: str) -> float:
    """Compressed size over size; small for a text that repeats itself."""
    return compressed_size(text) / max(1, len(text.encode(errors="replace")))
