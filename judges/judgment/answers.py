"""What labelers say: with what it cost, and with a reason where they say nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

REASONS = frozenset(
    {
        "parse",
        "refusal",
        "truncated",
        "off_menu",
        "budget",
        "backend",
        "injected",
        "empty",
        "quarantined",
    }
)
"""Why a subject is unscored.

The labeler's words cannot be read, it refuses, its words are cut off, it names a label that was not
offered; the budget is spent; the labeler itself failed; the text carries the mark that fences it
in; there is no text; the sentinels of its batch failed.
"""


PASSING = frozenset({"budget", "backend"})
"""Reasons that say nothing about the item or the labeler's judgment: it may be asked again at once.
"""


def sigmoid(log_odds: float) -> float:
    """The probability of log-odds (nats), without overflow."""
    return (
        1 / (1 + math.exp(-log_odds))
        if log_odds >= 0
        else math.exp(log_odds) / (1 + math.exp(log_odds))
    )


def logit(value: float) -> float:
    """The log-odds (nats) of a probability, kept finite."""
    inside = min(max(value, 1e-12), 1 - 1e-12)
    return math.log(inside) - math.log1p(-inside)


@dataclass(frozen=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    @property
    def num_tokens(self) -> int:
        """All of them."""
        return self.prompt_tokens + self.completion_tokens


FREE = Usage()
"""What costs nothing."""


def total_usage(parts: list[Usage]) -> Usage:
    """The sum."""
    return sum(parts, FREE)


@dataclass(frozen=True)
class Answer:
    """What a labeler said of one subject: a value in [0, 1], or None with the reason why not.

    `distribution` holds the labels' probabilities, best label first, and `raw` what it was read
    from.
    """

    value: float | None
    reason: str = ""
    usage: Usage = FREE
    distribution: tuple[float, ...] = ()
    raw: str = ""

    @property
    def num_tokens(self) -> int:
        """Tokens it cost."""
        return self.usage.num_tokens


@dataclass(frozen=True)
class LabelAnswer:
    """Log-probabilities (nats, not normalised) of the labels of one question, in their order; None
    with a reason.
    """

    logps: tuple[float, ...] | None
    reason: str = ""
    usage: Usage = FREE
    raw: str = ""

    def distribution(self) -> tuple[float, ...]:
        """The labels' shares, which sum to 1; empty where there is no answer."""
        return () if self.logps is None else tuple(softmax(np.array(self.logps)).tolist())
