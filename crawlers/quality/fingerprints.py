"""What tells texts apart: a digest of the normalised text, MinHash bands, and sampled word n-grams."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
from rensa import RMinHash

from crawlers.quality.words import UInt64Array, distinct, ngram_hashes, plain_hashes, split_plain

NUM_BANDS = 14
BAND_ROWS = 8
SHINGLE_WORDS = 5
SEED = 1
GRAM_SIZES = (10, 13)
GRAM_SAMPLING = 4
"""One n-gram in this many is kept, chosen by its hash, so that two texts keep the same ones."""


def normalised(text: str) -> str:
    """Text for exact comparison: NFKC, lower case, words separated by single blanks."""
    return " ".join(split_plain(unicodedata.normalize("NFKC", text)))


def text_digest(text: str) -> str:
    """SHA-256 of the normalised text, as 64 hex characters."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()


def minhash_bands(hashes: UInt64Array) -> list[int]:
    """14 band keys of 8 rows each from word 5-grams, given the words' hashes.

    Texts with Jaccard similarity 0.75 share a band with 77%; a text shorter than a shingle is one
    shingle. Two texts are near-duplicates when any band is equal.
    """
    grams = ngram_hashes(hashes, min(SHINGLE_WORDS, max(len(hashes), 1)))
    if len(grams) == 0:
        return []
    offsets = np.array([0, len(grams)], dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(grams), offsets, NUM_BANDS * BAND_ROWS, SEED
    )
    rows = np.array(matrix.to_rows()[0], dtype=np.uint64).reshape(NUM_BANDS, BAND_ROWS)
    return [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")
        for row in rows
    ]


def sampled_grams(hashes: UInt64Array) -> dict[int, list[int]]:
    """The sampled distinct n-gram hashes of each size, in ascending order, given the words' hashes."""
    grams = {n: ngram_hashes(hashes, n) for n in GRAM_SIZES}
    return {
        n: distinct(found[found % np.uint64(GRAM_SAMPLING) == 0])[0].tolist()
        for n, found in grams.items()
    }


def disagreement(a: str, b: str) -> float:
    """How far two texts differ as bags of words: 1 - Dice coefficient, 0 for equal bags."""
    x, y = plain_hashes(a), plain_hashes(b)
    if len(x) + len(y) == 0:
        return 0.0
    values, counts = distinct(x)
    others, other_counts = distinct(y)
    common, at, bt = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    shared = int(np.minimum(counts[at], other_counts[bt]).sum()) if len(common) else 0
    return 1.0 - 2.0 * shared / (len(x) + len(y))
