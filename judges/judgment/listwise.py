"""Several texts shown at once, asked about in several orders: which is the best?

Every text stands in every place once, so that a liking for a place that adds to the
log-probabilities is the same for all of them. After Sun et al. 2023 (arXiv:2304.09542) and Tang et
al. 2023 (arXiv:2310.07712), narrowed to lists short enough for one question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax

from infra.records import unit_hash
from judges.judgment.answers import FREE, Usage

MOST_TEXTS = 5
LETTERS = "ABCDE"


@dataclass(frozen=True)
class Listing:
    """Two to five texts for one prompt. `truth` is the place of the best where it is known."""

    listing_id: str
    prompt: str
    texts: tuple[str, ...]
    reference: str = ""
    truth: int | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.texts) <= MOST_TEXTS:
            raise ValueError(f"a list has 2 to {MOST_TEXTS} texts, this one has {len(self.texts)}")


@dataclass(frozen=True)
class Ranking:
    """What a labeler said of a list: log-shares (nats) of being the best, in the list's order; None
    with a reason.

    `spread` is how far a text's log-share differs between the orders (root mean square), 0 for a
    labeler that does not look at places.
    """

    log_shares: tuple[float, ...] | None
    reason: str = ""
    usage: Usage = FREE
    spread: float = 0.0
    raw: str = ""

    @property
    def num_tokens(self) -> int:
        """Tokens it cost."""
        return self.usage.num_tokens

    @property
    def distribution(self) -> tuple[float, ...]:
        """Shares of being the best, which sum to 1."""
        if self.log_shares is None:
            return ()
        return tuple(softmax(self.log_shares).tolist())

    @property
    def best(self) -> int:
        """The place of the best text, the first of equals. Raises `ValueError` where it is
        unscored.
        """
        if self.log_shares is None:
            raise ValueError(f"unscored: {self.reason}")
        return self.log_shares.index(max(self.log_shares))


def orders(listing: Listing, seed: int) -> list[tuple[int, ...]]:
    """As many orders as texts: the rotations of one that a hash of seed and list chooses."""
    size = len(listing.texts)
    first = sorted(range(size), key=lambda i: unit_hash(seed, "order", listing.listing_id, i))
    return [tuple(first[(i + turn) % size] for i in range(size)) for turn in range(size)]


def merged(
    shown: Sequence[tuple[int, ...]], log_shares: Sequence[Sequence[float]], usage: Usage, raw: str
) -> Ranking:
    """One ranking of the log-shares (nats, not normalised) of several orders, each in the order
    shown.
    """
    by_text = np.empty((len(shown), len(shown[0])))
    for row, (order, shares) in enumerate(zip(shown, log_shares, strict=True)):
        by_text[row, list(order)] = log_softmax(np.array(shares))
    spread = float(np.sqrt(np.mean(np.var(by_text, axis=0))))
    return Ranking(tuple(by_text.mean(axis=0).tolist()), "", usage, spread, raw)
