from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.quality.fingerprints import (
    BAND_ROWS,
    GRAM_SAMPLING,
    NUM_MINHASH_BANDS,
    disagreement,
    minhash_bands,
    sampled_grams,
    text_digest,
)
from crawlers.quality.words import (
    _PLAIN,
    _WORD,
    UInt64Array,
    distinct,
    ngram_hashes,
    plain_hashes,
    split_plain,
    tokenise,
)

DICE = random.Random(0)
LONG = [f"word{DICE.randrange(5000)}" for _ in range(600)]


def shingles(tokens: list[str]) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + 5]) for i in range(len(tokens) - 4)}


def token_hashes(tokens: list[str]) -> UInt64Array:
    return plain_hashes(" ".join(tokens))


def bands(tokens: list[str]) -> list[int]:
    return minhash_bands(token_hashes(tokens))


def changed(tokens: list[str], number: int, seed: int) -> list[str]:
    dice, result = random.Random(seed), list(tokens)
    for position in dice.sample(range(len(tokens)), number):
        result[position] = f"new{dice.randrange(10**6)}"
    return result


def test_there_are_fourteen_bands_and_they_are_the_same_on_every_machine() -> None:
    assert len(bands(LONG)) == NUM_MINHASH_BANDS
    assert bands(["one", "two", "three", "four", "five", "six"])[:2] == [
        11378690776796534700,
        17688197421842705905,
    ]


def test_near_duplicates_share_a_band_as_often_as_the_theory_says() -> None:
    """For Jaccard similarity s a pair shares a band with probability 1 - (1 - s^8)^14."""
    for number in (4, 12, 30, 60):
        hits, chance, trials = 0, 0.0, 120
        for seed in range(trials):
            dice = random.Random(seed)
            base = [f"w{dice.randrange(10**6)}" for _ in range(400)]
            other = changed(base, number, seed)
            a, b = shingles(base), shingles(other)
            similarity = len(a & b) / len(a | b)
            chance += 1 - (1 - similarity**BAND_ROWS) ** NUM_MINHASH_BANDS
            hits += bool(set(enumerate(bands(base))) & set(enumerate(bands(other))))
        expected = chance / trials
        error = (expected * (1 - expected) / trials) ** 0.5
        assert abs(hits / trials - expected) <= 4 * error + 0.01, number


def test_different_texts_share_no_band() -> None:
    assert not set(bands(LONG)) & set(bands([f"other{i}" for i in range(600)]))


def test_the_digest_sees_words_and_nothing_else() -> None:
    assert text_digest("Hello,  World!\n") == text_digest("hello world")
    assert text_digest("\ufb01ne") == text_digest("fine")
    assert text_digest("hello world") != text_digest("hello worlds")


def test_sampled_grams_estimate_the_share_in_common() -> None:
    tokens = token_hashes([f"w{i}" for i in range(4000)])
    a, b = sampled_grams(tokens[:3000])[13], sampled_grams(tokens[1000:])[13]
    assert abs(len(a) - 3000 / GRAM_SAMPLING) < 150
    assert abs(len(set(a) & set(b)) / len(a) - 2 / 3) < 0.08
    assert sampled_grams(tokens[:2]) == {10: [], 13: []}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("", "", 0), ("a b", "b a", 0), ("a b", "c d", 1), ("a b c d", "a b", 1 / 3)],
)
def test_disagreement(a: str, b: str, expected: float) -> None:
    assert disagreement(a, b) == pytest.approx(expected)


@given(st.text(max_size=200), st.text(max_size=200))
def test_disagreement_is_symmetric_and_between_0_and_1(a: str, b: str) -> None:
    assert disagreement(a, b) == pytest.approx(disagreement(b, a))
    assert 0 <= disagreement(a, b) <= 1
    assert disagreement(a, a) == 0


@given(st.text(max_size=200))
def test_any_text_has_fingerprints(text: str) -> None:
    hashes = plain_hashes(text)
    assert len(minhash_bands(hashes)) == (NUM_MINHASH_BANDS if len(hashes) else 0)
    assert len(text_digest(text)) == 64


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3)))
def test_distinct_is_what_numpy_finds(values: list[int]) -> None:
    array = np.array(values, dtype=np.uint64)
    for ours, theirs in zip(distinct(array), np.unique(array, return_counts=True), strict=True):
        assert ours.tolist() == theirs.tolist()


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.integers(1, 6))
def test_ngram_hashes_are_equal_where_ngrams_are(words: list[str], n: int) -> None:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    hashes = ngram_hashes(token_hashes(words), n).tolist()
    assert len(hashes) == len(grams)
    assert len(set(zip(hashes, grams, strict=True))) == len(set(hashes)) == len(set(grams))


@given(
    st.lists(
        st.text(
            st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from(" \n"), max_size=30
        )
    )
)
def test_the_cache_of_chunks_changes_no_token(texts: list[str]) -> None:
    for text in texts:
        assert tokenise(text).lengths.tolist() == [len(token) for token in _WORD.findall(text)]
        assert split_plain(text) == _PLAIN.findall(text.lower())
