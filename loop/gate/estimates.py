"""Measures of scored texts, with their standard errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from infra.records import ItemScore, unit_hash

ScoredItem = tuple[str, dict[str, float]]
"""An item's unit, and its value by model."""


def by_position(scores: Sequence[ItemScore]) -> dict[int, ScoredItem]:
    """Items of one suite in one attempt by their position in the order drawn."""
    items: dict[int, ScoredItem] = {}
    for score in scores:
        items.setdefault(score.position, (score.unit, {}))[1][score.model_digest] = score.value
    return dict(sorted(items.items()))


def with_scores(items: Mapping[int, ScoredItem], models: Sequence[str]) -> list[ScoredItem]:
    """The items that have a score by each of these models, in order."""
    return [
        (unit, values)
        for unit, values in items.values()
        if not any(math.isnan(values.get(model, math.nan)) for model in models)
    ]


def window(text: str, num_chars: int, key: str) -> str:
    """A window of a text, from the start of a line; its position depends on `key` alone."""
    if len(text) <= num_chars:
        return text
    start = int(unit_hash("window", key) * (len(text) - num_chars))
    line = text.rfind("\n", 0, start) + 1
    return text[line : line + num_chars]


def windows(text: str, num_chars: int, count: int, key: str) -> tuple[str, ...]:
    """Windows of a text, `num_chars` in all: one in each of `count` equal stretches of it.

    A short text is its only window.
    """
    if len(text) <= num_chars:
        return (text,)
    edges = [len(text) * i // count for i in range(count + 1)]
    stretches = [text[begin:end] for begin, end in pairwise(edges)]
    return tuple(
        window(stretch, num_chars // count, f"{key}/{i}") for i, stretch in enumerate(stretches)
    )


def num_bytes(parts: Sequence[str]) -> int:
    """The bytes of texts in UTF-8."""
    return sum(len(part.encode()) for part in parts)


def bits_per_byte(logp_nats: float, num_bytes: int) -> float:
    """Bits per byte of a text from the sum of its tokens' log-probabilities."""
    return -logp_nats / math.log(2) / max(num_bytes, 1)


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Share of different n-grams of words among all (Li et al. 2016); 1 where there are none."""
    grams = [
        tuple(words[i : i + n])
        for words in (t.split() for t in texts)
        for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 1.0


def word_entropy(texts: Sequence[str]) -> float:
    """Entropy of the distribution of words, in bits a word; 0 where there are none."""
    counts = np.array(
        list(Counter(word for text in texts for word in text.split()).values()), dtype=np.float64
    )
    shares = counts / max(counts.sum(), 1.0)
    return float(-(shares * np.log2(shares)).sum())


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 of each text against the others, from 0 to 1: 1 where all are the same (Zhu et
    al. 2018).

    By sacrebleu, with the orders that a short text has. A text without a word counts as a
    repetition.
    """
    from sacrebleu.metrics.bleu import BLEU  # slow to import

    if len(texts) < 2:
        return 0.0
    bleu = BLEU(effective_order=True)
    scores = [
        bleu.sentence_score(text, [*texts[:i], *texts[i + 1 :]]).score / 100
        if text.strip()
        else 1.0
        for i, text in enumerate(texts)
    ]
    return float(np.mean(scores))


def hundreds_of_words(texts: Sequence[str]) -> float:
    """Mean length in hundreds of words."""
    return float(np.mean([len(text.split()) for text in texts])) / 100 if texts else 0.0


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error over independent units; with fewer than two the error is NaN."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return float("nan"), float("nan")
    error = float(array.std(ddof=1) / math.sqrt(array.size)) if array.size > 1 else float("nan")
    return float(array.mean()), error


def clustered_mean_and_error(
    values: Sequence[float], units: Sequence[Hashable]
) -> tuple[float, float]:
    """Mean over items and its standard error where items of one unit are not independent.

    The sandwich estimate with the correction C / (C - 1) for C units (Liang and Zeger 1986; for
    evaluations Miller 2024, arXiv:2411.00640). With a unit for each item it is `mean_and_error`;
    fewer than two units give NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return float("nan"), float("nan")
    first: dict[Hashable, int] = {}
    indices = [first.setdefault(unit, len(first)) for unit in units]
    sums = np.bincount(indices, weights=array - array.mean())
    count = len(first)
    if count < 2:
        return float(array.mean()), float("nan")
    return float(array.mean()), float(math.sqrt((sums**2).sum() * count / (count - 1)) / array.size)


def worse_p_value(candidate_right: Sequence[bool], champion_right: Sequence[bool]) -> float:
    """Exact sign test (McNemar 1947) on items that only one of the two answered right.

    The chance, if both were equally good, of the candidate losing at least this many.
    """
    from scipy.stats import binomtest  # slow to import

    lost = sum(b and not a for a, b in zip(candidate_right, champion_right, strict=True))
    won = sum(a and not b for a, b in zip(candidate_right, champion_right, strict=True))
    return (
        float(binomtest(lost, lost + won, 0.5, alternative="greater").pvalue) if lost + won else 1.0
    )
