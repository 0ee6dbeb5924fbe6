"""What can be seen of a text without reading it, and rules that choose by it.

A labeler that only counts something must not pass a probe. So the pairs that decide are chosen and
ordered such that each of these features prefers the better text about as often as the worse one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from infra.models.text_size import compression_ratio
from infra.records import unit_hash
from judges.judgment.elicitation import Subject

Signs = NDArray[np.float64]
_PUNCTUATION = frozenset(".,;:!?|-()[]\"'/*#&" + "。，；：！？、（）")
_DENSE = r"\u3040-\u30ff\u4e00-\u9fff"
_WORD = re.compile(rf"[^\W\d_{_DENSE}]+|[{_DENSE}]")
_ENDS = (".", "!", "?", "。", "！", "？")


def _share(test: Callable[[str], bool]) -> Callable[[str], float]:
    return lambda text: sum(map(test, text)) / max(1, len(text))


def _words(text: str) -> list[str]:
    """Words in lower case; of a script without spaces each character is a word."""
    return _WORD.findall(text.lower())


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / max(1, len(listed))


FEATURES: Mapping[str, Callable[[str], float]] = {
    "characters": len,
    "words": lambda text: len(_words(text)),
    "word length": lambda text: len(text) / max(1, len(_words(text))),
    "longest word": lambda text: max(map(len, text.split() or [""])),
    "short words": lambda text: _mean(len(word) <= 3 for word in text.split()),
    "lines": lambda text: text.count("\n"),
    "sentences": lambda text: len(re.findall(r"[.!?。！？]", text)),
    "punctuation": _share(_PUNCTUATION.__contains__),
    "digits": _share(str.isdigit),
    "capitals": _share(str.isupper),
    "capital first": lambda text: float(text[:1].isupper()),
    "end of a sentence": lambda text: float(text.rstrip().endswith(_ENDS)),
    "compression": compression_ratio,
    "different words": lambda text: len(set(_words(text))) / max(1, len(_words(text))),
    "first letter": lambda text: float(ord(text[0])) if text else 0.0,
}
"""Each gives a number for a text; a rule prefers the text with more, or with less."""
NUM_ARTICLES, NUM_COMMON = 4, 40
FREQUENCY = "frequency of words"
"""The feature that needs texts to count in."""


@cache
def unigrams(texts: tuple[str, ...]) -> Callable[[str], float]:
    """How common the words of a text are: the mean log of the number of other texts with each.

    In the mean log-probability of a unigram model, each of these texts would be likelier than any
    other one because it was counted too.
    """
    counts = Counter(word for text in texts for word in set(_words(text)))

    def frequency(text: str) -> float:
        words = _words(text)
        return sum(math.log(max(counts[word], 1)) for word in words) / max(1, len(words))

    return frequency


@cache
def commonest_words(texts: tuple[str, ...]) -> tuple[Callable[[str], float], ...]:
    """How often a text has each of the very commonest words, its share of common ones, and the mean
    log frequency.

    In most languages the commonest words are articles and the like.
    """
    counts = Counter(word for text in texts for word in _words(text))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    common = frozenset(ordered[:NUM_COMMON])

    def counter(word: str) -> Callable[[str], float]:
        return lambda text: _words(text).count(word)

    def share(text: str) -> float:
        return _mean(word in common for word in _words(text))

    def likelihood(text: str) -> float:
        return _mean(math.log(counts[word] + 0.5) for word in _words(text))

    return (*map(counter, ordered[:NUM_ARTICLES]), share, likelihood)


def signs(pairs: Sequence[tuple[Subject, Subject]], texts: tuple[str, ...]) -> Signs:
    """1 where the better text of (better, worse) has more of a feature, -1 where it has less, else
    0; shape (pairs, features). The last ones
    are about the frequency of words.
    """
    features = [*FEATURES.values(), unigrams(texts), *commonest_words(texts)]
    rows = [
        [np.sign(feature(good.text) - feature(bad.text)) for feature in features]
        for good, bad in pairs
    ]
    return np.array(rows, dtype=np.float64).reshape(len(pairs), len(features))


def balanced_order(values: Signs, count: int, salt: str) -> list[int]:
    """Indices of up to `count` pairs, in an order in which all features stay balanced.

    Greedy: the next pair is the one after which the squares of the running sums of signs are
    smallest, so any beginning of the list is balanced too; a hash decides ties.
    """
    ties = np.array([unit_hash(salt, str(i)) for i in range(len(values))])
    rest, total, order = list(range(len(values))), np.zeros(values.shape[1]), list[int]()
    while rest and len(order) < count:
        sums = ((total + values[rest]) ** 2).sum(axis=1) + ties[rest]
        chosen = rest[int(np.argmin(sums))]
        rest.remove(chosen)
        total += values[chosen]
        order.append(chosen)
    return order


def best_rule(values: Signs) -> float:
    """The accuracy of the best rule of one feature, at least 1/2; a tie counts as half right."""
    if not len(values):
        return 0.5
    means = 0.5 + values.mean(axis=0) / 2
    return float(max(0.5, means.max(), 1.0 - means.min()))
