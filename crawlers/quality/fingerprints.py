"""Fingerprints that show equal, similar and overlapping texts: digest, MinHash bands, n-grams."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
from rensa import RMinHash

from crawlers.quality.words import UInt64Array, distinct, ngram_hashes, plain_hashes, split_plain

NUM_MINHASH_BANDS = 14
BAND_ROWS = 8
SHINGLE_WORDS = 5
SEED = 1
GRAM_SIZES = (10, 13)
GRAM_SAMPLING = 4
"""One n-gram in this many is kept. The hash decides which, so all texts keep the same n-grams."""


def normalised(text: str) -> str:
    """The text in NFKC and lower case, words separated by single blanks, for exact comparison."""
    return " ".join(split_plain(unicodedata.normalize("NFKC", text)))


def text_digest(text: str) -> str:
    """SHA-256 of the normalised text, as 64 hex characters."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()


def minhash_bands(hashes: UInt64Array) -> list[int]:
    """The 14 MinHash band keys (8 rows each) of the word 5-grams, from the words' hashes.

    Two texts are near-duplicates if any band is equal; at Jaccard similarity 0.75 the probability
    is 77%. A text with fewer than five words counts as one n-gram.
    """
    grams = ngram_hashes(hashes, min(SHINGLE_WORDS, max(len(hashes), 1)))
    if len(grams) == 0:
        return []
    offsets = np.array([0, len(grams)], dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(grams), offsets, NUM_MINHASH_BANDS * BAND_ROWS, SEED
    )
    rows = np.array(matrix.to_rows()[0], dtype=np.uint64).reshape(NUM_MINHASH_BANDS, BAND_ROWS)
    return [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")
        for row in rows
    ]


def sampled_grams(hashes: UInt64Array) -> dict[int, list[int]]:
    """The sampled distinct n-gram hashes by n, in ascending order, from the words' hashes."""
    all_grams = {n: ngram_hashes(hashes, n) for n in GRAM_SIZES}
    return {
        n: distinct(grams[grams % np.uint64(GRAM_SAMPLING) == 0])[0].tolist()
        for n, grams in all_grams.items()
    }


def disagreement(a: str, b: str) -> float:
    """1 - Dice coefficient of two texts as bags of words; 0 means equal bags."""
    x, y = plain_hashes(a), plain_hashes(b)
    if len(x) + len(y) == 0:
        return 0.0
    values, counts = distinct(x)
    others, other_counts = distinct(y)
    common, at, bt = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    shared = int(np.minimum(counts[at], other_counts[bt]).sum()) if len(common) else 0
    return 1.0 - 2.0 * shared / (len(x) + len(y))
