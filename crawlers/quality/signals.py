"""Quality signals of a text: Gopher (Rae et al. 2021), C4 (Raffel et al. 2020), FineWeb (Penedo et
al. 2024).

The definitions are those of the papers as datatrove reads them, so that the same thresholds give
the same verdicts; `crawlers.quality.rules` decides by them, and can decide anew without reading a
page again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray

from crawlers.quality.words import (
    ALPHABETIC,
    FIRST_STOP_WORD,
    REAL,
    UInt64Array,
    Words,
    ngram_keys,
    run_starts,
    words_of,
)

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
SHORT_LINE_CHARS = 30
POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_LONGEST_WORD = 1000
_MIN_LINE_WORDS = 3

_TERMINAL = regex.compile(r"\p{Sentence_Terminal}")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)")
_CITATION = regex.compile(r"\[\d*]|\[edit]|\[citation needed]")
_CODE_LINE = regex.compile(
    r"^\s*(?:>>> |\.\.\. |[$#%] \w|(?:def|class|import|from|return|if|for|while|try|const|let|var|function|public"
    r"|private|static|void|int|fn|func|package|#include|using|namespace|struct|enum)\b.*[({:;=]|[\w.\[\]\"']+\(.*\)\s*[;:{]?$"
    r"|(?:return|raise|yield|assert|del)\s+[\w.]+(?:\s*[-+*/%,(\[=].*)?$|[})\]]+[;,]?$|[\w.\[\]]+\s*(?:=|\+=|:=|->)\s*\S.*|<[/!?]?\w[^>]*>|//|/\*|\*/|@\w+)"
)


def _duplicates(elements: list[str]) -> tuple[int, int]:
    """(elements, characters) that repeat an earlier element."""
    again = [(count - 1, len(element)) for element, count in Counter(elements).items() if count > 1]
    return sum(n for n, _ in again), sum(n * size for n, size in again)


def _top_ngram_chars(words: Words, grams: UInt64Array, n: int) -> int:
    """Characters that the most frequent n-gram covers, with the spaces inside it; the first of
    equals counts.
    """
    order = np.argsort(grams, kind="stable")
    starts = run_starts(grams[order])
    counts = np.diff(starts, append=len(grams))
    most = int(counts.max())
    position = int(order[starts[counts == most]].min())
    return (int(words.lengths[position : position + n].sum()) + n - 1) * most


def _places_of_repeated(values: UInt64Array) -> NDArray[np.int64]:
    """Where the values stand that occur more than once, in ascending order."""
    order = np.argsort(values)
    same = values[order[1:]] == values[order[:-1]]
    several = np.zeros(len(values), dtype=bool)
    several[order[1:][same]] = True
    several[order[:-1][same]] = True
    return np.flatnonzero(several)


def _duplicate_ngram_chars(words: Words) -> Iterator[tuple[int, int]]:
    """For each n, (n, characters in n-grams that repeat an earlier one, each character counted
    once).

    Only n-grams that occur more than once decide anything, and only where a shorter one does can a
    longer one.
    """
    ends = np.concatenate([[0], np.cumsum(words.lengths)])
    places: NDArray[np.int64] | None = None
    for n in DUPLICATE_NGRAMS:
        if places is not None and len(places) == 0:
            yield n, 0
            continue
        grams = ngram_keys(words.hashes, n)
        if places is None:
            places = _places_of_repeated(grams)
        else:
            places = places[places < len(grams)]
            places = places[_places_of_repeated(grams[places])]
        sizes = ends[places + n] - ends[places]
        yield n, _repeated_chars(places.tolist(), grams[places].tolist(), sizes.tolist(), n)


def _repeated_chars(places: list[int], grams: list[int], sizes: list[int], n: int) -> int:
    """Characters in n-grams that repeat an earlier one, from left to right without overlap."""
    seen: set[int] = set()
    repeated, free = 0, 0
    for place, value, size in zip(places, grams, sizes, strict=True):
        if place < free:
            continue
        if value in seen:
            repeated += size
            free = place + n
        else:
            seen.add(value)
    return repeated


def _word_signals(text: str, words: Words) -> dict[str, float]:
    number = max(len(words.kinds), 1)
    is_real = words.kinds & REAL > 0
    num_real = int(is_real.sum())
    stop_words = int(np.bitwise_or.reduce(words.kinds, initial=0)) // FIRST_STOP_WORD
    return {
        "num_words": float(num_real),
        "mean_word_chars": int(words.lengths[is_real].sum()) / max(num_real, 1),
        "hash_ratio": text.count("#") / number,
        "ellipsis_ratio": (text.count("...") + text.count("…")) / number,
        "alpha_word_share": int((words.kinds & ALPHABETIC > 0).sum()) / number,
        "num_stop_words": float(stop_words.bit_count()),
        "newline_ratio": text.count("\n") / number,
    }


def _line_signals(text: str) -> dict[str, float]:
    lines = text.splitlines() or [""]
    full = [line for line in text.split("\n") if line.strip()] or [""]
    count = len(lines)
    stripped = [line.lstrip() for line in lines]
    return {
        "bullet_line_share": sum(line.startswith(("•", "-")) for line in stripped) / count,
        "ellipsis_line_share": sum(line.rstrip().endswith(("...", "…")) for line in lines) / count,
        "terminal_line_share": sum(bool(_TERMINAL.match(line[-1:])) for line in full) / len(full),
        "short_line_share": sum(len(line) <= SHORT_LINE_CHARS for line in full) / len(full),
        "repeated_line_chars": _duplicates(full)[1] / max(len(text.replace("\n", "")), 1),
        "code_line_share": sum(bool(_CODE_LINE.match(line)) for line in full) / len(full),
    }


def _repetition_signals(text: str, words: Words) -> dict[str, float]:
    size = max(len(text), 1)
    paragraphs = regex.split(r"\n{2,}", text.strip())
    lines = regex.split(r"\n+", text)
    same_paragraphs, same_paragraph_chars = _duplicates(paragraphs)
    same_lines, same_line_chars = _duplicates(lines)
    signals = {
        "duplicate_paragraphs": same_paragraphs / len(paragraphs),
        "duplicate_paragraph_chars": same_paragraph_chars / size,
        "duplicate_lines": same_lines / len(lines),
        "duplicate_line_chars": same_line_chars / size,
    }
    for n in TOP_NGRAMS:
        grams = ngram_keys(words.hashes, n)
        signals[f"top_{n}_gram"] = _top_ngram_chars(words, grams, n) / size if len(grams) else 0.0
    return signals | {
        f"duplicate_{n}_grams": chars / size for n, chars in _duplicate_ngram_chars(words)
    }


def _c4_signals(text: str) -> dict[str, float]:
    """Sentences in the lines that C4 keeps (without its rule on line ends, as in FineWeb), and its
    taboos.
    """
    sentences, curly, lorem = 0, False, False
    for line in text.splitlines():
        found = line.split()
        if len(found) < _MIN_LINE_WORDS or max(map(len, found)) > _LONGEST_WORD:
            continue
        bare = _CITATION.sub("", line.strip()) if "[" in line else line.strip()
        lower = bare.lower()
        lorem |= "lorem ipsum" in lower
        if "javascript" in lower:
            continue
        curly |= "{" in bare
        if not any(phrase in lower for phrase in POLICY_PHRASES):
            sentences += max(1, len(_SENTENCE_END.findall(bare)))
    return {
        "num_sentences": float(sentences),
        "has_curly_bracket": float(curly),
        "has_lorem_ipsum": float(lorem),
    }


@lru_cache(maxsize=2)
def gate_signals(text: str) -> dict[str, float]:
    """The cheap half: what Gopher's quality rules read, and the share of code lines."""
    return _word_signals(text, words_of(text)) | _line_signals(text)


def signals_of(text: str) -> dict[str, float]:
    """Every signal of a text, by name."""
    repetition = _repetition_signals(text, words_of(text))
    return {"num_chars": float(len(text))} | gate_signals(text) | repetition | _c4_signals(text)
