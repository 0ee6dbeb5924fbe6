"""Quality signals of a text: Gopher (Rae et al. 2021), C4 (Raffel et al. 2020), FineWeb (Penedo et al. 2024).

The definitions are those of the papers as datatrove reads them, so that the same thresholds give the same
verdicts; `crawlers.policy` decides by them, and can decide anew without reading a page again.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np
import regex

from crawlers.words import UInt64Array, Words, ngram_hashes, words_of

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
SHORT_LINE_CHARS = 30
POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_LONGEST_WORD = 1000
_MIN_LINE_WORDS = 3

_HAS_WORD_CHARACTER = regex.compile(r"[^\p{P}\p{C}$+<=>^`|~]")
_TERMINAL = regex.compile(r"\p{Sentence_Terminal}$")
_SENTENCE_END = regex.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)")
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
    """Characters that the most frequent n-gram covers, with the spaces inside it; the first of equals counts."""
    _, first, counts = np.unique(grams, return_index=True, return_counts=True)
    position = int(first[counts == counts.max()].min())
    return (int(words.lengths[position : position + n].sum()) + n - 1) * int(counts.max())


def _duplicate_ngram_chars(words: Words, grams: UInt64Array, n: int) -> int:
    """Characters in n-grams that repeat an earlier one, each character counted once."""
    if len(np.unique(grams)) == len(grams):
        return 0
    ends = np.concatenate([[0], np.cumsum(words.lengths)])
    seen: set[int] = set()
    repeated, i, values = 0, 0, grams.tolist()
    while i < len(values):
        if values[i] in seen:
            repeated += int(ends[i + n] - ends[i])
            i += n
        else:
            seen.add(values[i])
            i += 1
    return repeated


def _word_signals(text: str, words: Words) -> dict[str, float]:
    number = max(len(words.tokens), 1)
    distinct = Counter(words.tokens)
    real = {token: count for token, count in distinct.items() if _HAS_WORD_CHARACTER.search(token)}
    num_real = sum(real.values())
    alphabetic = sum(count for token, count in distinct.items() if any(map(str.isalpha, token)))
    return {
        "num_words": float(num_real),
        "mean_word_chars": sum(len(token) * count for token, count in real.items()) / max(num_real, 1),
        "hash_ratio": text.count("#") / number,
        "ellipsis_ratio": (text.count("...") + text.count("…")) / number,
        "alpha_word_share": alphabetic / number,
        "num_stop_words": float(len(STOP_WORDS.intersection(distinct))),
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
        "terminal_line_share": sum(bool(_TERMINAL.search(line)) for line in full) / len(full),
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
        grams = ngram_hashes(words.hashes, n)
        signals[f"top_{n}_gram"] = _top_ngram_chars(words, grams, n) / size if len(grams) else 0.0
    for n in DUPLICATE_NGRAMS:
        grams = ngram_hashes(words.hashes, n)
        signals[f"duplicate_{n}_grams"] = _duplicate_ngram_chars(words, grams, n) / size
    return signals


def _c4_signals(text: str) -> dict[str, float]:
    """Sentences in the lines that C4 keeps (without its rule on line ends, as in FineWeb), and its taboos."""
    sentences, curly, lorem = 0, False, False
    for line in text.splitlines():
        found = line.split()
        if any(len(word) > _LONGEST_WORD for word in found) or len(found) < _MIN_LINE_WORDS:
            continue
        bare = _CITATION.sub("", line.strip())
        lower = bare.lower()
        lorem |= "lorem ipsum" in lower
        if "javascript" in lower:
            continue
        curly |= "{" in bare
        if not any(phrase in lower for phrase in POLICY_PHRASES):
            sentences += max(1, len(_SENTENCE_END.findall(bare)))
    return {"num_sentences": float(sentences), "has_curly_bracket": float(curly), "has_lorem_ipsum": float(lorem)}


@lru_cache(maxsize=2)
def gate_signals(text: str) -> dict[str, float]:
    """The cheap half: what Gopher's quality rules read, and the share of code lines."""
    return _word_signals(text, words_of(text)) | _line_signals(text)


def signals_of(text: str) -> dict[str, float]:
    """Every signal of a text, by name."""
    repetition = _repetition_signals(text, words_of(text))
    return {"num_chars": float(len(text))} | gate_signals(text) | repetition | _c4_signals(text)
