"""Results of labelers: a value or label probabilities with their token cost, or a reason for
failure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

UNSCORED_REASONS = frozenset(
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
"""Reasons why an item is unscored.

- parse: the answer cannot be read
- refusal: the labeler refuses
- truncated: the answer was cut off before a label
- off_menu: the answer names no allowed label
- budget: the token budget is spent
- backend: the labeler failed
- injected: a text contains the marker that fences it
- empty: there is no text
- quarantined: the sentinel items of the batch failed"""


RETRYABLE_REASONS = frozenset({"budget", "backend"})
"""Reasons that do not depend on the item: it can be asked again at once."""


def sigmoid(log_odds: float) -> float:
    """Return the probability for log-odds (nats), without overflow."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    return math.exp(log_odds) / (1 + math.exp(log_odds))


def logit(value: float) -> float:
    """Return the log-odds (nats) of a probability, clipped to about +-27.6."""
    inside = min(max(value, 1e-12), 1 - 1e-12)
    return math.log(inside) - math.log1p(-inside)


@dataclass(frozen=True)
class TokenUsage:
    """Numbers of prompt and completion tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    @property
    def num_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


NO_USAGE = TokenUsage()


def total_usage(parts: list[TokenUsage]) -> TokenUsage:
    """Return the sum."""
    return sum(parts, NO_USAGE)


@dataclass(frozen=True)
class LabelerAnswer:
    """A labeler's result on one subject: a value in [0, 1], or None with a reason.

    `distribution` holds the label probabilities, best label first. `raw` is the unparsed answer.
    """

    value: float | None
    reason: str = ""
    usage: TokenUsage = NO_USAGE
    distribution: tuple[float, ...] = ()
    raw: str = ""

    @property
    def num_tokens(self) -> int:
        """Number of tokens that the answer cost."""
        return self.usage.num_tokens


@dataclass(frozen=True)
class LabelAnswer:
    """Log-probabilities (nats, unnormalised) of one question's labels, in order, or None with a
    reason.
    """

    logps: tuple[float, ...] | None
    reason: str = ""
    usage: TokenUsage = NO_USAGE
    raw: str = ""

    def distribution(self) -> tuple[float, ...]:
        """Return the label probabilities, which sum to 1; empty if unscored."""
        from scipy.special import softmax  # slow to import

        return () if self.logps is None else tuple(softmax(np.array(self.logps)).tolist())
