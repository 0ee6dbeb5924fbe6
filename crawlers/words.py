"""Words of a text as arrays: the one tokenisation that signals, fingerprints and overlaps share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray

UInt64Array = NDArray[np.uint64]

# Punctuation apart, contractions in two ("don't" is "do" and "n't"), hyphenated words in three, numbers and
# addresses whole: the rules of spaCy's English tokenizer that change what a filter decides.
_WORD = regex.compile(
    r"https?://\S*[^\s.,;:)\]}>\"']|\w+(?=n['’]t\b)|n['’]t\b|['’](?:s|m|d|re|ve|ll)\b|[+-]?\d+(?:[.,:]\d+)+"
    r"|(?:\b[A-Z]\.){2,}|\b[a-hj-z]\.|\w+(?:[.@_:=()\[\]#+*<>&]+\w+)+|\w+|\.{2,}|-{2,}|[^\w\s]",
    flags=regex.V1,
)
_PLAIN = regex.compile(r"\w+")
_BASE = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=200_000)
def word_hash(word: str) -> int:
    """A 64-bit hash that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Words:
    """A text's tokens in order, with the stable hash and the length of each."""

    tokens: list[str]
    hashes: UInt64Array
    lengths: NDArray[np.int64]


def split(text: str) -> list[str]:
    """Words and punctuation marks in order."""
    return list(_WORD.findall(text))


def split_plain(text: str) -> list[str]:
    """Words in lower case without punctuation: what fingerprints are made of."""
    return list(_PLAIN.findall(text.lower()))


def hashes_of(tokens: list[str]) -> UInt64Array:
    """The stable hash of every token."""
    return np.fromiter(map(word_hash, tokens), dtype=np.uint64, count=len(tokens))


@lru_cache(maxsize=2)
def words_of(text: str) -> Words:
    """Tokenise once for all signals of a text."""
    tokens = split(text)
    lengths = np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens))
    return Words(tokens, hashes_of(tokens), lengths)


def ngram_hashes(hashes: UInt64Array, n: int) -> UInt64Array:
    """A 64-bit hash of every run of `n` tokens (a polynomial in an odd base, then mixed); shape (len - n + 1,)."""
    count = len(hashes) - n + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    value = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for i in range(n):
            value = value * _BASE + hashes[i : i + count]
        value ^= value >> np.uint64(31)
        value *= np.uint64(0xBF58476D1CE4E5B9)  # the finaliser of splitmix64: low bits depend on all others
        value ^= value >> np.uint64(27)
    return value
