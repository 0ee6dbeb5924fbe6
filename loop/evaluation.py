"""Scoring a pair of models on the same held-out texts, in float32, in the same batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from infra.language_model import LanguageModel
from infra.records import unit_hash

GUARD_TOKENS = 24
CONTINUATION_TOKENS = 40


def window(text: str, num_chars: int, key: str) -> str:
    """A window of a text that begins at a line, at a place that depends on `key` alone."""
    if len(text) <= num_chars:
        return text
    start = int(unit_hash("window", key) * (len(text) - num_chars))
    line = text.rfind("\n", 0, start) + 1
    return text[line : line + num_chars]


def bits_per_byte(logp_nats: float, num_bytes: int) -> float:
    """Bits per byte of a text from the sum of its tokens' log-probabilities."""
    return -logp_nats / math.log(2) / max(num_bytes, 1)


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Share of different n-grams of words among all (Li et al. 2016); 1 where there are none."""
    grams = [tuple(words[i : i + n]) for words in (t.split() for t in texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error over independent units; the error of fewer than two units is NaN."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return float("nan"), float("nan")
    error = float(array.std(ddof=1) / math.sqrt(array.size)) if array.size > 1 else float("nan")
    return float(array.mean()), error


def worse_p_value(candidate_right: Sequence[bool], champion_right: Sequence[bool]) -> float:
    """Exact sign test (McNemar 1947) on items that only one of the two answered right.

    The chance, if both were equally good, of the candidate losing at least this many.
    """
    lost = sum(b and not a for a, b in zip(candidate_right, champion_right, strict=True))
    won = sum(a and not b for a, b in zip(candidate_right, champion_right, strict=True))
    return float(binomtest(lost, lost + won, 0.5, alternative="greater").pvalue) if lost + won else 1.0


class PairScorer:
    """Candidate and champion, loaded side by side."""

    def __init__(self, candidate: str, champion: str, num_threads: int) -> None:
        import torch

        torch.set_num_threads(num_threads)
        self._folders = (candidate, champion)

    @cached_property
    def _models(self) -> list[LanguageModel]:
        return [LanguageModel(Path(folder), "gate", exact=True) for folder in self._folders]

    def bits(self, texts: Sequence[str]) -> list[list[float]]:
        """Bits per byte of each text, for the candidate and for the champion."""
        sizes = [len(text.encode()) for text in texts]
        rows = []
        for model in self._models:
            scores = model.score([("", model.neutralise(text)) for text in texts])
            rows.append([bits_per_byte(s.logp, size) for s, size in zip(scores, sizes, strict=True)])
        return rows

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """The likeliest answer of each model to each prompt."""
        return [
            [c.text for c in m.complete([m.chat_prompt(m.neutralise(p)) for p in prompts], GUARD_TOKENS, 0.0, 0)]
            for m in self._models
        ]

    def continuations(self, texts: Sequence[str], seed: int) -> list[list[str]]:
        """How each model goes on with each text, sampled at temperature 1 with the same seed."""
        return [
            [c.text for c in m.complete([m.neutralise(t) for t in texts], CONTINUATION_TOKENS, 1.0, seed)]
            for m in self._models
        ]
