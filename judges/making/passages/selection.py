"""Selection of the passages to train on: sampled by rank, with caps per domain and quotas per
surprise.

Taking only the best passages would narrow the data from generation to generation. So passages are
drawn without replacement, with odds that grow with their rank (Gumbel top-k; Wettig et al. 2024,
arXiv:2402.09739). Preferring text with low surprise speeds up model collapse, so each third of the
surprise has a quota.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.models.text_size import estimated_tokens
from infra.records import Sample, unit_hash
from judges.config import SelectionConfig

NUM_SURPRISE_BANDS = 3


@dataclass(frozen=True)
class Candidate:
    """A passage with its rank in [0, 1], its registrable domain, and the champion's bits per byte
    (NaN if not measured).
    """

    sample: Sample
    rank: float
    domain: str
    bits: float


def drawing_order(
    candidates: Sequence[Candidate], temperature: float, salt: str
) -> list[Candidate]:
    """Return the candidates in the order of drawing without replacement, with odds exp(rank /
    temperature). Randomness comes from hashes.
    """

    def key(candidate: Candidate) -> float:
        u = unit_hash(salt, "draw", candidate.sample.sample_id)
        return candidate.rank / temperature - math.log(-math.log(min(max(u, 1e-12), 1 - 1e-12)))

    return sorted(candidates, key=lambda c: (-key(c), c.sample.sample_id))


def band_edges(bits: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the edges between the thirds of the surprise, or None for fewer than three
    passages.
    """
    if len(bits) < NUM_SURPRISE_BANDS:
        return None
    return np.quantile(bits, [(i + 1) / NUM_SURPRISE_BANDS for i in range(NUM_SURPRISE_BANDS - 1)])


def surprise_bands(candidates: Sequence[Candidate]) -> list[int]:
    """Return each candidate's third of the surprise, 0 for the lowest. Passages without a
    measurement are in the middle one.
    """
    bits = np.array([c.bits for c in candidates], dtype=np.float64)
    edges = band_edges(bits[~np.isnan(bits)])
    if edges is None:
        return [NUM_SURPRISE_BANDS // 2] * len(candidates)
    return [
        NUM_SURPRISE_BANDS // 2 if np.isnan(b) else int(np.searchsorted(edges, b, side="left"))
        for b in bits
    ]


def sample_passages(
    candidates: Sequence[Candidate], config: SelectionConfig, budget_tokens: int, salt: str
) -> list[Sample]:
    """Return passages in the order drawn, within the token budget, the cap per domain and the quota
    per band.
    """
    num_wanted = max(1, round(config.keep_share * len(candidates)))
    bands = {
        c.sample.sample_id: band
        for c, band in zip(candidates, surprise_bands(candidates), strict=True)
    }
    quotas = {
        band: math.ceil(config.keep_share * size) for band, size in Counter(bands.values()).items()
    }
    cap = _domain_cap(candidates, config, budget_tokens)
    chosen: list[Sample] = []
    spent: Counter[str] = Counter()
    for candidate in drawing_order(candidates, config.temperature, salt):
        if len(chosen) == num_wanted:
            break
        band, domain = bands[candidate.sample.sample_id], candidate.domain
        tokens = estimated_tokens(candidate.sample.completion)
        fits_budget = spent.total() + tokens <= budget_tokens and quotas[band] > 0
        fits_domain = spent[domain] == 0 or spent[domain] + tokens <= cap
        if fits_budget and fits_domain:
            quotas[band] -= 1
            spent[domain] += tokens
            chosen.append(candidate.sample)
    return chosen


def _domain_cap(
    candidates: Sequence[Candidate], config: SelectionConfig, budget_tokens: int
) -> float:
    """Return the maximum number of tokens from one domain."""
    num_domains = len({c.domain for c in candidates})
    total = sum(estimated_tokens(c.sample.completion) for c in candidates) * config.keep_share
    share = max(config.max_domain_share, 1 / max(num_domains, 1))
    return share * min(total, budget_tokens)
