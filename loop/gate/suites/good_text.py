"""The held-out documents that count as text to aim for: good ones, and no group too often.

A document has a weight w in [0, 1] that depends on the crawl and on no score. It is scored if a
hash of the run's salt and its key, uniform in [0, 1), is below w. So the mean over the scored
documents is the weighted mean over all, and a test on them needs no weights (docs/gate.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from crawlers.quality.rules import drop_reasons
from infra.records import unit_hash
from infra.store import Store
from loop.gate.aim import AimConfig


def good_documents(
    store: Store, aim: AimConfig, pool: str, salt: str, until: int | None = None
) -> list[str]:
    """The ids of the documents of a held-out pool that may be scored.

    With `until` as they were before later generations had crawled.
    """
    groups = _passing(store, aim.policy, pool, until)
    if not aim.balanced:
        return [document_id for document_id, _, _ in groups]
    weights = balanced_weights([(domain, section) for _, domain, section in groups])
    return [
        document_id
        for (document_id, _, _), weight in zip(groups, weights, strict=True)
        if unit_hash(salt, "aim", document_id) < weight
    ]


def _passing(store: Store, policy: str, pool: str, until: int | None) -> list[tuple[str, str, str]]:
    """(document, domain, section) of the documents of a pool that pass the quality rules."""
    groups = store.curation.pool_groups(pool, until)
    ids = [document_id for document_id, _, _ in groups]
    reasons = drop_reasons(policy, ids, store.curation.pool_signals(pool, until), 0)
    return [group for group in groups if not reasons[group[0]]]


def balanced_weights(groups: Sequence[tuple[Hashable, Hashable]]) -> list[float]:
    """The weight of each document from its (domain, section).

    All documents of a domain together weigh no more than the mean number of documents of a domain,
    and those of a section no more than its domain's mean number for a section.
    """
    domains, sections = Counter(domain for domain, _ in groups), Counter(groups)
    parts = Counter(domain for domain, _ in sections)
    return [
        min(1.0, len(groups) / len(domains) / domains[domain])
        * min(1.0, domains[domain] / parts[domain] / sections[domain, section])
        for domain, section in groups
    ]
