"""The data policy: training data are measured before training, and a breach forbids it.

Models trained only on their own output lose rare knowledge first, and more later (Shumailov et al.
2024, Nature 631:755). They do not if real text accumulates and is never replaced (Gerstgrasser et
al. 2024, arXiv:2404.01413). So a minimum share of the data is real text, and part of it comes from
the data of earlier generations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from infra.models.text_size import estimated_tokens
from infra.records import DataFact, Sample, unit_hash
from infra.store import Store
from judges.making.passages.cutting import within_budget
from judges.making.passages.selection import NUM_SURPRISE_BANDS, band_edges
from loop.data.config import DataConfig
from loop.data.curriculum import Curriculum
from loop.data.held_out import HeldOutNgrams

MODEL_ORIGIN = "model"


def earlier_samples(
    store: Store,
    generation: int,
    budget_tokens: int,
    seed: int,
    max_held_out: float,
    is_read: Callable[[Sample], bool],
) -> list[Sample]:
    """Samples that earlier generations were trained on and that a step reads, within a budget.

    Their order depends on the generation. Samples are left out if more than `max_held_out` of their
    n-grams are in text that has been held out since.
    """
    if budget_tokens <= 0:
        return []
    known = [s for s in store.training.trained_samples_before(generation) if is_read(s)]
    shares = HeldOutNgrams(store, generation).shares([s.text for s in known])
    samples = [s for s, share in zip(known, shares, strict=True) if share <= max_held_out]
    samples.sort(key=lambda s: unit_hash(seed, "earlier", generation, s.sample_id))
    return within_budget(samples, budget_tokens)


def measure_data(
    store: Store, config: DataConfig, generation: int, curriculum: Curriculum, max_held_out: float
) -> list[DataFact]:
    """Every measure of the policy with its bounds.

    `max_held_out` is the recipe's `judge.max_held_out_share`.
    """
    facts = [
        *_origin_facts(config, generation, curriculum),
        _held_out_fact(store, config, generation, curriculum, max_held_out),
        _domain_fact(
            config,
            generation,
            curriculum,
            store.labels.sample_domains([s.sample_id for s in curriculum.samples]),
        ),
        *_band_facts(config, generation, curriculum, store.labelers.surprise(generation)),
    ]
    if config.canaries:
        facts.append(
            DataFact(generation, "canary_hits", _canary_hits(config, curriculum), 0.0, 0.0)
        )
    scored, asked = store.training.parse_counts(generation)
    if asked:
        facts.append(DataFact(generation, "parse_rate", scored / asked, config.min_parse_rate, 1.0))
    kept, read = store.training.keep_counts(generation)
    if read:
        facts.append(
            DataFact(
                generation, "keep_rate", kept / read, config.min_keep_rate, config.max_keep_rate
            )
        )
    return facts


def breaches(facts: Sequence[DataFact]) -> list[str]:
    """One sentence for each measure outside its bounds; such a generation is not trained."""
    return [_breach(fact) for fact in facts if not fact.low <= fact.value <= fact.high]


def _breach(fact: DataFact) -> str:
    is_low = fact.value < fact.low
    key, bound, side = (
        (KEYS[fact.name][0], fact.low, "below")
        if is_low
        else (KEYS[fact.name][1], fact.high, "above")
    )
    return f"{DESCRIPTIONS[fact.name]} is {fact.value:.3f}, {side} {bound:g} (data.{key})"


KEYS = {
    "real_share": ("min_real_share", "min_real_share"),
    "made_share": ("max_made_share", "max_made_share"),
    "earlier_share": ("earlier_share", "earlier_share"),
    "largest_domain_share": ("max_domain_share", "max_domain_share"),
    **{
        f"band_{band}_share": ("min_band_share", "min_band_share")
        for band in range(NUM_SURPRISE_BANDS)
    },
    "held_out_share": ("max_held_out_share", "max_held_out_share"),
    "canary_hits": ("canaries", "canaries"),
    "parse_rate": ("min_parse_rate", "min_parse_rate"),
    "keep_rate": ("min_keep_rate", "max_keep_rate"),
}
"""The keys of the recipe that set the lower and the upper bound of each measure."""
DESCRIPTIONS = {
    "real_share": "the share of real text",
    "made_share": "the share of text made by models",
    "earlier_share": "the share of text from earlier generations",
    "largest_domain_share": "the share of the largest domain",
    "band_0_share": "the share of the third that surprises the champion least",
    "band_1_share": "the share of the middle third by surprise",
    "band_2_share": "the share of the third that surprises the champion most",
    "held_out_share": "the share of text that is held out for the gate",
    "canary_hits": "the number of training texts with a canary in them",
    "parse_rate": "the share of the labeler's answers that could be read",
    "keep_rate": "the share of documents that were kept",
}


def _tokens(curriculum: Curriculum) -> Counter[str]:
    """Trained tokens by origin: completions of samples, and chosen texts of preferences."""
    counts: Counter[str] = Counter()
    for sample in curriculum.samples:
        counts[sample.origin] += estimated_tokens(sample.completion)
    for preference in curriculum.preferences:
        if preference.pair_index == 0:
            counts[preference.chosen_origin] += estimated_tokens(preference.chosen)
    return counts


def _origin_facts(config: DataConfig, generation: int, curriculum: Curriculum) -> list[DataFact]:
    counts = _tokens(curriculum)
    total = max(counts.total(), 1)
    earlier = sum(
        estimated_tokens(s.completion) for s in curriculum.samples if s.generation < generation
    )
    return [
        DataFact(
            generation, "real_share", 1 - counts[MODEL_ORIGIN] / total, config.min_real_share, 1.0
        ),
        DataFact(
            generation, "made_share", counts[MODEL_ORIGIN] / total, 0.0, config.max_made_share
        ),
        DataFact(generation, "earlier_share", earlier / total, 0.0, 1.0),
    ]


def _texts(curriculum: Curriculum) -> list[str]:
    texts = [s.text for s in (*curriculum.samples, *curriculum.prompts)]
    return texts + [f"{p.prompt}\n{p.chosen}\n{p.rejected}" for p in curriculum.preferences]


def _held_out_fact(
    store: Store, config: DataConfig, generation: int, curriculum: Curriculum, max_held_out: float
) -> DataFact:
    texts = _texts(curriculum)
    tokens = [estimated_tokens(text) for text in texts]
    shares = HeldOutNgrams(store, generation).shares(texts)
    held = sum(n for n, share in zip(tokens, shares, strict=True) if share > max_held_out)
    return DataFact(
        generation, "held_out_share", held / max(sum(tokens), 1), 0.0, config.max_held_out_share
    )


def _canary_hits(config: DataConfig, curriculum: Curriculum) -> float:
    return float(
        sum(any(canary in text for canary in config.canaries) for text in _texts(curriculum))
    )


def _domain_fact(
    config: DataConfig, generation: int, curriculum: Curriculum, domains: Mapping[str, str]
) -> DataFact:
    counts: Counter[str] = Counter()
    for sample in curriculum.samples:
        counts[domains.get(sample.sample_id, "")] += estimated_tokens(sample.completion)
    named = max((count for domain, count in counts.items() if domain), default=0)
    return DataFact(
        generation,
        "largest_domain_share",
        named / max(counts.total(), 1),
        0.0,
        config.max_domain_share,
    )


def _band_facts(
    config: DataConfig, generation: int, curriculum: Curriculum, bits: Mapping[str, float]
) -> list[DataFact]:
    """The share of trained passages in each third of all passages by surprise.

    Empty if fewer than three passages were read.
    """
    edges = band_edges(list(bits.values()))
    trained = [bits[s.sample_id] for s in curriculum.samples if s.sample_id in bits]
    if edges is None or not trained:
        return []
    counts = np.bincount(np.searchsorted(edges, trained, side="left"), minlength=NUM_SURPRISE_BANDS)
    return [
        DataFact(
            generation,
            f"band_{band}_share",
            float(counts[band] / len(trained)),
            config.min_band_share,
            1.0,
        )
        for band in range(NUM_SURPRISE_BANDS)
    ]
