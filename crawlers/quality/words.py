"""Splits a text into words, as arrays. Signals, fingerprints and overlaps use this tokenisation.

A text is first split at blanks, and each chunk is looked up in a cache of tokenised chunks. Most
chunks occur again and again, so most are tokenised only once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

UInt64Array = NDArray[np.uint64]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
REAL, ALPHABETIC, FIRST_STOP_WORD = 1, 2, 4

# Those rules of spaCy's English tokenizer that matter to the filters: punctuation is split off, a
# contraction is two tokens ("don't" is "do" and "n't"), a hyphenated word three, a number or an
# address one.
_WORD = regex.compile(
    r"https?://\S*[^\s.,;:)\]}>\"']|\w+(?=n['’]t\b)|n['’]t\b|['’](?:s|m|d|re|ve|ll)\b"
    r"|[+-]?\d+(?:[.,:]\d+)+|(?:\b[A-Z]\.){2,}|\b[a-hj-z]\."
    r"|\w+(?:[.@_:=()\[\]#+*<>&]+\w+)+|\w+|\.{2,}|-{2,}|[^\w\s]",
    flags=regex.V1,
)
_PLAIN = regex.compile(r"\w+")
_HAS_WORD_CHARACTER = regex.compile(r"[^\p{P}\p{C}$+<=>^`|~]")
_STOP_BITS = {word: FIRST_STOP_WORD << i for i, word in enumerate(STOP_WORDS)}
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MAX_KNOWN_CHARS = 4_000_000


@dataclass(frozen=True)
class Words:
    """The tokens of a text in order, as arrays of shape (tokens,).

    `hashes` are the same on every machine; `lengths` are in characters. The bits of `kinds` say
    whether a token is more than punctuation (`REAL`), whether it has a letter (`ALPHABETIC`), and
    which stop word it is.
    """

    hashes: UInt64Array
    lengths: NDArray[np.int64]
    kinds: UInt64Array


def _word_hash(word: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little"
    )


def _token_kind(token: str) -> int:
    is_real = _HAS_WORD_CHARACTER.search(token) is not None
    has_letter = any(map(str.isalpha, token))
    return REAL * is_real | ALPHABETIC * has_letter | _STOP_BITS.get(token, 0)


class _Tokens:
    """Numbers tokens, and keeps hash, length and kind of each."""

    def __init__(self, split: Callable[[str], Iterable[str]]) -> None:
        self._split = split
        self._numbers: dict[str, int] = {}
        self._known = np.empty((3, 1024), dtype=np.uint64)

    def numbers(self, chunk: str) -> tuple[int, ...]:
        """The numbers of the tokens in a chunk without blanks."""
        return tuple(map(self._number, self._split(chunk)))

    def _number(self, token: str) -> int:
        number = self._numbers.get(token)
        if number is None:
            number = self._numbers[token] = len(self._numbers)
            if number == self._known.shape[1]:
                self._known = np.concatenate([self._known, np.empty_like(self._known)], axis=1)
            self._known[:, number] = (_word_hash(token), len(token), _token_kind(token))
        return number

    def words(self, chunks: Iterable[tuple[int, ...]]) -> Words:
        """The tokens of chunks of token numbers, in order."""
        numbers = np.fromiter(chain.from_iterable(chunks), dtype=np.intp)
        return Words(
            self._known[0][numbers],
            self._known[1][numbers].astype(np.int64),
            self._known[2][numbers],
        )


class _Vocabulary(dict[str, tuple[tuple[int, ...], tuple[int, ...]]]):
    """A cache: chunk without blanks to its token numbers, with punctuation and without.

    It is replaced by an empty one when it is too large.
    """

    def __init__(self) -> None:
        super().__init__()
        self.marked = _Tokens(_WORD.findall)
        self.plain = _Tokens(lambda chunk: _PLAIN.findall(chunk.lower()))
        self.known_chars = 0

    def __missing__(self, chunk: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        self.known_chars += len(chunk)
        tokens = self[chunk] = (self.marked.numbers(chunk), self.plain.numbers(chunk))
        return tokens


_vocabulary = [_Vocabulary()]
_one_at_a_time = threading.Lock()


@lru_cache(maxsize=4)
def _tokenised(text: str) -> tuple[Words, UInt64Array]:
    """(words and punctuation, hashes of the plain words) of a text."""
    with _one_at_a_time:  # otherwise two threads could give one number to two new tokens
        if _vocabulary[0].known_chars > _MAX_KNOWN_CHARS:
            _vocabulary[0] = _Vocabulary()
        vocabulary = _vocabulary[0]
        chunks = [vocabulary[chunk] for chunk in text.split()]
        marked = vocabulary.marked.words([chunk[0] for chunk in chunks])
        return marked, vocabulary.plain.words([chunk[1] for chunk in chunks]).hashes


def split_plain(text: str) -> list[str]:
    """Words in lower case without punctuation, which fingerprints are made from."""
    return list(_PLAIN.findall(text.lower()))


def tokenise(text: str) -> Words:
    """The words and punctuation marks of a text, which signals are computed from."""
    return _tokenised(text)[0]


def plain_hashes(text: str) -> UInt64Array:
    """The hashes of a text's words in lower case without punctuation."""
    return _tokenised(text)[1]


def ngram_hashes(hashes: UInt64Array, n: int) -> UInt64Array:
    """64-bit hashes of all n-grams, shape (tokens - n + 1,).

    A polynomial in an odd base, then the finaliser of splitmix64, so that low bits depend on all
    others.
    """
    value = ngram_keys(hashes, n)
    value ^= value >> np.uint64(31)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    return value


def ngram_keys(hashes: UInt64Array, n: int) -> UInt64Array:
    """Like `ngram_hashes` without mixing: fit to compare n-grams, but not to sample them."""
    count = max(len(hashes) - n + 1, 0)
    value = np.zeros(count, dtype=np.uint64)
    for i in range(n if count else 0):
        value *= _BASE  # overflow is intended
        value += hashes[i : i + count]
    return value


def distinct(values: UInt64Array) -> tuple[UInt64Array, NDArray[np.int64]]:
    """(distinct values in ascending order, their counts); faster than numpy.unique."""
    ordered = np.sort(values)
    starts = run_starts(ordered)
    return ordered[starts], np.diff(starts, append=len(ordered))


def run_starts(ordered: NDArray[Any]) -> NDArray[np.int64]:
    """The position at which each run of equal values begins in a sorted array."""
    if len(ordered) == 0:
        return np.empty(0, dtype=np.int64)
    return np.concatenate(
        [np.zeros(1, dtype=np.int64), np.flatnonzero(ordered[1:] != ordered[:-1]) + 1]
    )
