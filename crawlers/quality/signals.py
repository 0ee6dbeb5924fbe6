"""Quality signals of a text, from Gopher (Rae et al. 2021), C4 (Raffel et al. 2020) and FineWeb
(Penedo et al. 2024).

Definitions are those of datatrove, so that the same thresholds give the same decisions. Signals are
stored: `crawlers.quality.rules` can decide again without parsing a page again.
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
    tokenise,
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
    r"^\s*(?:>>> |\.\.\. |[$#%] \w"
    r"|(?:def|class|import|from|return|if|for|while|try|const|let|var|function|public"
    r"|private|static|void|int|fn|func|package|#include|using|namespace|struct|enum)\b.*[({:;=]"
    r"|[\w.\[\]\"']+\(.*\)\s*[;:{]?$"
    r"|(?:return|raise|yield|assert|del)\s+[\w.]+(?:\s*[-+*/%,(\[=].*)?$"
    r"|[})\]]+[;,]?$"
    r"|[\w.\[\]]+\s*(?:=|\+=|:=|->)\s*\S.*"
    r"|<[/!?]?\w[^>]*>|//|/\*|\*/|@\w+)"
)


def _duplicates(elements: list[str]) -> tuple[int, int]:
    """(number, characters) of the elements that repeat an earlier element."""
    again = [(count - 1, len(element)) for element, count in Counter(elements).items() if count > 1]
    return sum(n for n, _ in again), sum(n * size for n, size in again)


def _top_ngram_chars(words: Words, grams: UInt64Array, n: int) -> int:
    """Characters covered by the most frequent n-gram, with the blanks inside it.

    If several are equally frequent, the first counts.
    """
    order = np.argsort(grams, kind="stable")
    starts = run_starts(grams[order])
    counts = np.diff(starts, append=len(grams))
    most = int(counts.max())
    position = int(order[starts[counts == most]].min())
    return (int(words.lengths[position : position + n].sum()) + n - 1) * most


def _repeated_positions(values: UInt64Array) -> NDArray[np.int64]:
    """Positions of the values that occur more than once, in ascending order."""
    order = np.argsort(values)
    same = values[order[1:]] == values[order[:-1]]
    is_repeated = np.zeros(len(values), dtype=bool)
    is_repeated[order[1:][same]] = True
    is_repeated[order[:-1][same]] = True
    return np.flatnonzero(is_repeated)


def _duplicate_ngram_chars(words: Words) -> Iterator[tuple[int, int]]:
    """Yield (n, characters in n-grams that repeat an earlier one, without overlap) for each n.

    An n-gram can repeat only where a shorter one repeats, so each n searches only the positions
    that were left by the one before.
    """
    ends = np.concatenate([[0], np.cumsum(words.lengths)])
    positions: NDArray[np.int64] | None = None
    for n in DUPLICATE_NGRAMS:
        if positions is not None and len(positions) == 0:
            yield n, 0
            continue
        grams = ngram_keys(words.hashes, n)
        if positions is None:
            positions = _repeated_positions(grams)
        else:
            positions = positions[positions < len(grams)]
            positions = positions[_repeated_positions(grams[positions])]
        sizes = ends[positions + n] - ends[positions]
        yield n, _repeated_chars(positions.tolist(), grams[positions].tolist(), sizes.tolist(), n)


def _repeated_chars(positions: list[int], grams: list[int], sizes: list[int], n: int) -> int:
    """Characters in n-grams that repeat an earlier one, from left to right without overlap."""
    seen: set[int] = set()
    repeated, next_free = 0, 0
    for position, gram, size in zip(positions, grams, sizes, strict=True):
        if position < next_free:
            continue
        if gram in seen:
            repeated += size
            next_free = position + n
        else:
            seen.add(gram)
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
    """C4's signals: sentences in the lines that it keeps, curly brackets, and "lorem ipsum".

    As in FineWeb, its rule on the ends of lines is left out.
    """
    sentences, curly, lorem = 0, False, False
    for line in text.splitlines():
        words = line.split()
        if len(words) < _MIN_LINE_WORDS or max(map(len, words)) > _LONGEST_WORD:
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
def cheap_signals(text: str) -> dict[str, float]:
    """The signals that are cheap to compute: those of Gopher's quality rules, and of lines."""
    return _word_signals(text, tokenise(text)) | _line_signals(text)


def quality_signals(text: str) -> dict[str, float]:
    """All signals of a text, by name."""
    repetition = _repetition_signals(text, tokenise(text))
    return {"num_chars": float(len(text))} | cheap_signals(text) | repetition | _c4_signals(text)
