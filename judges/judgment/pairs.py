"""Pairs of answers, and what a labeler says of one: always asked in both orders, and averaged in
log-odds.

Averaging takes out a liking for the first place that adds to the log-odds; what is left of it is
reported as the gap. That a verdict survives the swap does not make it right: judges of 2023 keep
theirs on most of LLMBar's adversarial pairs and are mostly wrong there (Zeng et al. 2023,
arXiv:2310.07641).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from judges.judgment.answers import FREE, Usage, sigmoid

Side = Literal["A", "B", "tie"]
SWAPPED: dict[Side, Side] = {"A": "B", "B": "A", "tie": "tie"}
SIGN: dict[Side, float] = {"A": 1.0, "B": -1.0, "tie": 0.0}


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. `truth` is known for gold only, and only the scripted labeler
    looks at it.
    """

    pair_id: str
    prompt: str
    a: str
    b: str
    truth: Side | None = None
    reference: str = ""

    def swapped(self) -> Pair:
        """The same pair with its sides exchanged."""
        truth = None if self.truth is None else SWAPPED[self.truth]
        return Pair(self.pair_id, self.prompt, self.b, self.a, truth, self.reference)


@dataclass(frozen=True)
class Comparison:
    """What a labeler said of a pair.

    `shown_first` and `shown_second` are log-odds (nats) that A is the better one, asked with A in
    the first and in the second place; a way of asking that values each answer alone has both equal.
    None, with a reason, where an order could not be scored. `tie` is the probability of a tie where
    the labeler was offered one.
    """

    shown_first: float | None
    shown_second: float | None
    reason: str = ""
    usage: Usage = FREE
    tie: float = 0.0
    raw: str = ""

    @property
    def num_tokens(self) -> int:
        """Tokens it cost."""
        return self.usage.num_tokens

    @property
    def is_scored(self) -> bool:
        """Whether both orders were scored."""
        return self.shown_first is not None and self.shown_second is not None

    @property
    def log_odds(self) -> float:
        """The mean over both orders. Raises `ValueError` where it is unscored: nothing is computed
        from failures.
        """
        if self.shown_first is None or self.shown_second is None:
            raise ValueError(f"unscored: {self.reason}")
        return (self.shown_first + self.shown_second) / 2

    @property
    def gap(self) -> float:
        """How much being shown first gained, in log-odds; 0 for a labeler that does not look at
        places.
        """
        if self.shown_first is None or self.shown_second is None:
            raise ValueError(f"unscored: {self.reason}")
        return self.shown_first - self.shown_second

    @property
    def probability(self) -> float:
        """The probability that A is the better one, where it is no tie."""
        return sigmoid(self.log_odds)

    @property
    def distribution(self) -> tuple[float, float, float]:
        """Probabilities of A, B and a tie."""
        first = self.probability
        return (1 - self.tie) * first, (1 - self.tie) * (1 - first), self.tie

    @property
    def is_consistent(self) -> bool:
        """Whether both orders name the same side."""
        first, second = self.shown_first or 0.0, self.shown_second or 0.0
        return (first > 0) == (second > 0) and (first < 0) == (second < 0)

    def verdict(self, tie_band: float = 0.0) -> Side:
        """The better side; a tie where that is likelier than either, or the log-odds are within the
        band.
        """
        if abs(self.log_odds) <= tie_band or self.tie > max(self.distribution[:2]):
            return "tie"
        return "A" if self.log_odds > 0 else "B"
