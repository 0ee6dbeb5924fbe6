from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.gate.estimates import (
    bits_per_byte,
    distinct_n,
    mean_and_error,
    window,
    windows,
    word_entropy,
    worse_p_value,
)


def test_bits_per_byte_of_a_uniform_byte_model_is_eight() -> None:
    assert bits_per_byte(-5 * math.log(256), 5) == pytest.approx(8.0)


def test_distinct_n_counts_different_pairs() -> None:
    assert distinct_n(["a b a b"]) == pytest.approx(2 / 3)
    assert distinct_n(["a b", "a b"]) == 0.5
    assert distinct_n(["", "one"]) == 1.0


def test_word_entropy_known_answers() -> None:
    assert word_entropy(["a b", "c d"]) == pytest.approx(2.0)
    assert word_entropy(["a a", "a"]) == 0.0
    assert word_entropy([]) == 0.0


def test_mean_and_error() -> None:
    mean, error = mean_and_error([1.0, 2.0, 3.0])
    assert (mean, error) == (2.0, pytest.approx(1 / math.sqrt(3)))
    assert math.isnan(mean_and_error([1.0])[1])


def test_sign_test_known_answers() -> None:
    assert worse_p_value([False] * 5, [True] * 5) == pytest.approx(1 / 32)
    assert worse_p_value([True] * 5, [False] * 5) == 1.0
    assert worse_p_value([True, False], [True, False]) == 1.0


@given(st.text(alphabet="ab\n", max_size=500), st.integers(1, 200), st.text())
def test_window_is_a_piece_of_the_text_that_depends_on_the_key_alone(
    text: str, size: int, key: str
) -> None:
    piece = window(text, size, key)
    assert piece in text
    assert len(piece) <= size
    assert piece == window(text, size, key)


@given(st.text(alphabet="ab\n", max_size=500), st.integers(8, 200), st.integers(1, 8), st.text())
def test_windows_are_parts_in_order_that_together_are_no_longer_than_asked(
    text: str, size: int, count: int, key: str
) -> None:
    parts = windows(text, size, count, key)
    assert len(parts) == (count if len(text) > size else 1)
    assert all(parts) or not text
    assert sum(map(len, parts)) <= size
    end = 0
    for part in parts:
        end = text.index(part, end) + len(part)
    assert parts == windows(text, size, count, key)


def test_a_window_lies_in_each_stretch_of_a_text() -> None:
    text = "".join(letter * 100 for letter in "abcd")
    assert windows(text, 40, 4, "key") == ("a" * 10, "b" * 10, "c" * 10, "d" * 10)
    assert windows("short", 40, 4, "key") == ("short",)
