"""How a labeler is asked for questions about a passage, in the passage's own language.

A model that continues examples writes in their language. There are examples in English, German and
Chinese; a passage in another language gets the English ones, and its questions are read all the
same.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.config import read_toml

DENSE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f"
"""Letters of scripts without spaces between words (a part of a character class)."""
QUESTION_MARKS = ("?", "\uff1f", "\u061f", "\u037e", "\u055e", "\u1367")
"""Also the full-width, Arabic, Greek, Armenian and Ethiopic one."""
ENGLISH, CHINESE = "en", "zh"
HAN_SHARE, KANA_SHARE = 0.2, 0.02
_HAN, _KANA = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]"), re.compile(r"[\u3040-\u30ff]")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Wording:
    """Examples and the words around them in one language; see `wordings.toml`."""

    text: str
    question: str
    answer: str
    questions: tuple[tuple[str, str], ...]
    """(text, question that it answers)."""
    spans: tuple[tuple[str, str, str], ...]
    """(text, words of it, question that they answer)."""
    common_words: frozenset[str]
    question_words: frozenset[str]


@cache
def all_wordings() -> dict[str, Wording]:
    """Return the wordings by language (ISO 639-1)."""
    return {
        language: Wording(
            text=own["text"],
            question=own["question"],
            answer=own["answer"],
            questions=tuple((text, question) for text, question in own["questions"]),
            spans=tuple((text, answer, question) for text, answer, question in own["spans"]),
            common_words=frozenset(own["common_words"].split()),
            question_words=frozenset(own["question_words"].split()),
        )
        for language, own in read_toml(Path(__file__).with_suffix(".toml")).items()
    }


@cache
def question_words() -> frozenset[str]:
    """Return the words of all languages that any question may have."""
    return frozenset().union(*(own.question_words for own in all_wordings().values()))


def wording(text: str) -> Wording:
    """Return the wording in which a labeler is asked about a text."""
    known, letters = all_wordings(), max(1, sum(map(str.isalpha, text)))
    if len(_HAN.findall(text)) / letters >= HAN_SHARE:
        is_japanese = len(_KANA.findall(text)) / letters >= KANA_SHARE
        return known[ENGLISH if is_japanese else CHINESE]
    words = Counter(word.casefold() for word in _WORD.findall(text))
    # The first of equals is English.
    return max(known.values(), key=lambda own: sum(words[word] for word in own.common_words))
