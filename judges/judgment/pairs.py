"""Pairs of answers and their comparison, asked in both orders and averaged in log-odds.

The average removes an additive position bias; the difference between the orders is stored as the
gap. A verdict that is the same in both orders is not necessarily right: judge models of 2023 are
consistent on most of LLMBar's adversarial pairs and mostly wrong there (Zeng et al. 2023,
arXiv:2310.07641).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from judges.judgment.answers import NO_USAGE, TokenUsage, sigmoid

Side = Literal["A", "B", "tie"]
SWAPPED: dict[Side, Side] = {"A": "B", "B": "A", "tie": "tie"}
SIGN: dict[Side, float] = {"A": 1.0, "B": -1.0, "tie": 0.0}


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. `truth` is known for gold pairs only; only the scripted labeler
    reads it.
    """

    pair_id: str
    prompt: str
    a: str
    b: str
    truth: Side | None = None
    reference: str = ""

    def swapped(self) -> Pair:
        """Return the pair with its sides exchanged."""
        truth = None if self.truth is None else SWAPPED[self.truth]
        return Pair(self.pair_id, self.prompt, self.b, self.a, truth, self.reference)


@dataclass(frozen=True)
class Comparison:
    """A labeler's result on a pair.

    `shown_first` and `shown_second` are the log-odds (nats) that A is better, asked with A in the
    first and in the second position. They are equal for methods that value each answer alone. None,
    with a reason, if an order could not be scored. `tie` is the probability of a tie, 0 if the
    labeler cannot name ties.
    """

    shown_first: float | None
    shown_second: float | None
    reason: str = ""
    usage: TokenUsage = NO_USAGE
    tie: float = 0.0
    raw: str = ""

    @property
    def num_tokens(self) -> int:
        """Number of tokens that the comparison cost."""
        return self.usage.num_tokens

    @property
    def is_scored(self) -> bool:
        """Whether both orders were scored."""
        return self.shown_first is not None and self.shown_second is not None

    @property
    def log_odds(self) -> float:
        """Mean log-odds (nats) over both orders. Raises `ValueError` if unscored."""
        if self.shown_first is None or self.shown_second is None:
            raise ValueError(f"unscored: {self.reason}")
        return (self.shown_first + self.shown_second) / 2

    @property
    def gap(self) -> float:
        """Log-odds (nats) that an answer gains in the first position; 0 for methods that value each
        answer alone. Raises `ValueError` if unscored.
        """
        if self.shown_first is None or self.shown_second is None:
            raise ValueError(f"unscored: {self.reason}")
        return self.shown_first - self.shown_second

    @property
    def probability(self) -> float:
        """Probability that A is better, given that it is not a tie."""
        return sigmoid(self.log_odds)

    @property
    def distribution(self) -> tuple[float, float, float]:
        """Probabilities of A, B and a tie."""
        first = self.probability
        return (1 - self.tie) * first, (1 - self.tie) * (1 - first), self.tie

    @property
    def is_consistent(self) -> bool:
        """Whether both orders prefer the same side."""
        first, second = self.shown_first or 0.0, self.shown_second or 0.0
        return (first > 0) == (second > 0) and (first < 0) == (second < 0)

    def verdict(self, tie_band: float = 0.0) -> Side:
        """Return the better side, or "tie" if a tie is the most probable outcome or |log-odds| <=
        `tie_band`.
        """
        if abs(self.log_odds) <= tie_band or self.tie > max(self.distribution[:2]):
            return "tie"
        return "A" if self.log_odds > 0 else "B"
