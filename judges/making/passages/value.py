"""The value of a passage: how much learning the development texts helps with it.

The value is the champion's bits per byte of the passage, minus those of the *tuned* champion, which
has learned the development texts. To first order this is what a training step on the passage does
for the development texts: both are the product of the two gradients. Text that the model knows and
text that nobody can predict (shuffled words) both have little value. CoLoR-Filter (Brandfonbrener
et al. 2024, arXiv:2406.10670) selects by this difference, as do Moore and Lewis (2010) with two
n-gram models. `benchmarks/worth.py` compares it with random draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy.stats import rankdata

from infra.store import Store


def passage_values(store: Store, generation: int) -> dict[str, float]:
    """Return passage id -> value in bits per byte; empty if the generation has no development
    text.

    Passages whose value could not be measured are left out.
    """
    before, after = store.labelers.surprise(generation), store.labelers.tuned_bits(generation)
    values = {key: before[key] - bits for key, bits in after.items() if key in before}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def share_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Return the rank of each value as a share, in (0, 1]; the largest value has 1."""
    ranks = rankdata(list(values.values())) / max(len(values), 1)
    return dict(zip(values, map(float, ranks), strict=True))
