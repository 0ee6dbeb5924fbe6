"""Which passages are learned from: drawn by score instead of cut, with caps a domain and quotas a
perplexity band.

A cut keeps only what the labeler likes best, and that narrows from generation to generation; so
passages are drawn without replacement with odds that grow with their rank (Gumbel top-k; Wettig et
al. 2024, arXiv:2402.09739). Text that surprises the model least speeds collapse when it is
preferred, so every third of the surprise gets its share.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.records import Sample, unit_hash
from judges.config import SelectionConfig
from judges.making.passages.passages import estimated_tokens

NUM_BANDS = 3


@dataclass(frozen=True)
class Candidate:
    """A passage with its rank in [0, 1], its registrable domain, and the champion's bits per byte
    (nan: not read).
    """

    sample: Sample
    rank: float
    domain: str
    bits: float


def drawing_order(
    candidates: Sequence[Candidate], temperature: float, salt: str
) -> list[Candidate]:
    """The order of drawing without replacement, each with odds exp(rank / temperature); decided by
    hashes.
    """

    def key(candidate: Candidate) -> float:
        u = unit_hash(salt, "draw", candidate.sample.sample_id)
        return candidate.rank / temperature - math.log(-math.log(min(max(u, 1e-12), 1 - 1e-12)))

    return sorted(candidates, key=lambda c: (-key(c), c.sample.sample_id))


def band_edges(bits: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The bounds between the thirds of the surprise; None where fewer than three passages were
    read.
    """
    if len(bits) < NUM_BANDS:
        return None
    return np.quantile(bits, [(i + 1) / NUM_BANDS for i in range(NUM_BANDS - 1)])


def bands_of(candidates: Sequence[Candidate]) -> list[int]:
    """Each candidate's third of the surprise, 0 for the least; one that was not read is in the
    middle.
    """
    bits = np.array([c.bits for c in candidates], dtype=np.float64)
    edges = band_edges(bits[~np.isnan(bits)])
    if edges is None:
        return [NUM_BANDS // 2] * len(candidates)
    return [
        NUM_BANDS // 2 if np.isnan(b) else int(np.searchsorted(edges, b, side="left")) for b in bits
    ]


def sample_passages(
    candidates: Sequence[Candidate], config: SelectionConfig, budget_tokens: int, salt: str
) -> list[Sample]:
    """Passages in the order drawn, within the token budget, the cap of each domain and the quota of
    each band.
    """
    wanted = max(1, round(config.keep_share * len(candidates)))
    bands = dict(zip((c.sample.sample_id for c in candidates), bands_of(candidates), strict=True))
    sizes = Counter(bands.values())
    quotas = {band: math.ceil(config.keep_share * size) for band, size in sizes.items()}
    num_domains = len({c.domain for c in candidates})
    total = sum(estimated_tokens(c.sample.completion) for c in candidates) * config.keep_share
    cap = max(config.max_domain_share, 1 / max(num_domains, 1)) * min(total, budget_tokens)
    chosen: list[Sample] = []
    spent: Counter[str] = Counter()
    for candidate in drawing_order(candidates, config.temperature, salt):
        band, tokens = (
            bands[candidate.sample.sample_id],
            estimated_tokens(candidate.sample.completion),
        )
        fits = spent.total() + tokens <= budget_tokens and quotas[band] > 0
        is_first = spent[candidate.domain] == 0
        if (
            len(chosen) == wanted
            or not fits
            or not (is_first or spent[candidate.domain] + tokens <= cap)
        ):
            continue
        quotas[band] -= 1
        spent[candidate.domain] += tokens
        chosen.append(candidate.sample)
    return chosen
