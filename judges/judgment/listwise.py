"""Ranking of up to five texts that are shown together, in several orders.

Each text is shown once in each position, so an additive position bias in the log-probabilities
cancels out. After Sun et al. 2023 (arXiv:2304.09542) and Tang et al. 2023 (arXiv:2310.07712),
restricted to lists that fit into one question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.records import unit_hash
from judges.judgment.answers import NO_USAGE, TokenUsage

MAX_TEXTS = 5
LETTERS = "ABCDE"


@dataclass(frozen=True)
class CandidateList:
    """Two to five texts for one prompt. `truth` is the index of the best text if it is known."""

    list_id: str
    prompt: str
    texts: tuple[str, ...]
    reference: str = ""
    truth: int | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.texts) <= MAX_TEXTS:
            raise ValueError(f"a list has 2 to {MAX_TEXTS} texts, this one has {len(self.texts)}")


@dataclass(frozen=True)
class Ranking:
    """A labeler's result on a list: log-probabilities (nats) of being the best text, in the list's
    order, or None with a reason.

    `spread` is the root mean square deviation of a text's log-probability between the orders; it is
    0 for a labeler that values each text alone.
    """

    log_shares: tuple[float, ...] | None
    reason: str = ""
    usage: TokenUsage = NO_USAGE
    spread: float = 0.0
    raw: str = ""

    @property
    def num_tokens(self) -> int:
        """Number of tokens that the ranking cost."""
        return self.usage.num_tokens

    @property
    def distribution(self) -> tuple[float, ...]:
        """Probabilities of being the best text, which sum to 1; empty if unscored."""
        if self.log_shares is None:
            return ()
        from scipy.special import softmax  # slow to import

        return tuple(softmax(self.log_shares).tolist())

    @property
    def best(self) -> int:
        """Index of the best text, the first one if several are equal. Raises `ValueError` if
        unscored.
        """
        if self.log_shares is None:
            raise ValueError(f"unscored: {self.reason}")
        return self.log_shares.index(max(self.log_shares))


def shown_orders(candidates: CandidateList, seed: int) -> list[tuple[int, ...]]:
    """Return as many orders as there are texts: all rotations of one permutation that a hash of
    seed and list chooses.
    """
    size = len(candidates.texts)
    first = sorted(range(size), key=lambda i: unit_hash(seed, "order", candidates.list_id, i))
    return [tuple(first[(i + turn) % size] for i in range(size)) for turn in range(size)]


def merge_orders(
    shown: Sequence[tuple[int, ...]],
    log_shares: Sequence[Sequence[float]],
    usage: TokenUsage,
    raw: str,
) -> Ranking:
    """Return one ranking from the log-probabilities (nats, unnormalised) of several orders.

    `log_shares[k]` belongs to the order `shown[k]` and is sorted as shown.
    """
    from scipy.special import log_softmax  # slow to import

    by_text = np.empty((len(shown), len(shown[0])))
    for row, (order, shares) in enumerate(zip(shown, log_shares, strict=True)):
        by_text[row, list(order)] = log_softmax(np.array(shares))
    spread = float(np.sqrt(np.mean(np.var(by_text, axis=0))))
    return Ranking(tuple(by_text.mean(axis=0).tolist()), "", usage, spread, raw)
