"""What tells texts apart: a digest of the normalised text, MinHash bands, and sampled word n-grams."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
from rensa import RMinHash

from crawlers.words import hashes_of, ngram_hashes, split_plain

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


def minhash_bands(tokens: list[str]) -> list[int]:
    """14 band keys of 8 rows each from word 5-grams: texts with Jaccard similarity 0.75 share one with 77%.

    A text shorter than a shingle is one shingle. Two texts are near-duplicates when any band is equal.
    """
    grams = ngram_hashes(hashes_of(tokens), min(SHINGLE_WORDS, max(len(tokens), 1)))
    if len(grams) == 0:
        return []
    offsets = np.array([0, len(grams)], dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(grams), offsets, NUM_BANDS * BAND_ROWS, SEED
    )
    rows = np.array(matrix.to_rows()[0], dtype=np.uint64).reshape(NUM_BANDS, BAND_ROWS)
    return [int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in rows]


def sampled_grams(tokens: list[str]) -> dict[int, list[int]]:
    """The sampled distinct n-gram hashes of each size, in ascending order."""
    hashes = hashes_of(tokens)
    grams = {n: np.unique(ngram_hashes(hashes, n)) for n in GRAM_SIZES}
    return {n: found[found % np.uint64(GRAM_SAMPLING) == 0].tolist() for n, found in grams.items()}


def disagreement(a: str, b: str) -> float:
    """How far two texts differ as bags of words: 1 - Dice coefficient, 0 for equal bags."""
    x, y = np.sort(hashes_of(split_plain(a))), np.sort(hashes_of(split_plain(b)))
    if len(x) + len(y) == 0:
        return 0.0
    values, counts = np.unique(x, return_counts=True)
    others, other_counts = np.unique(y, return_counts=True)
    common, at, bt = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    shared = int(np.minimum(counts[at], other_counts[bt]).sum()) if len(common) else 0
    return 1.0 - 2.0 * shared / (len(x) + len(y))
