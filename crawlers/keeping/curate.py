"""Decides which texts of a crawl are kept: first quality, then duplicates, then overlap with
held-out texts.

All decisions are computed first and written at once, so a curation that was killed is simply run
again. The pool of a text was chosen when it was fetched. Of near-duplicates only one is kept, so
none are in two pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import pyarrow as pa

from crawlers.config import CrawlConfig
from crawlers.keeping.duplicates import Mark, cluster_marks
from crawlers.keeping.held_out import held_out_grams, held_out_texts
from crawlers.quality.fingerprints import GRAM_SIZES
from crawlers.quality.rules import drop_reasons
from infra.store import Store

CANARY = "canary string"
OTHER_LANGUAGE = "another language"
CONTAMINATED = "overlaps with held-out text"
WHOLE_ITEM = 0.5
"""A document with at least this share of one held-out text's n-grams counts as containing it."""


def curate_documents(
    store: Store, config: CrawlConfig, generation: int, held_out: Sequence[str] = ()
) -> dict[str, int]:
    """Decide on every new document; returns the number of documents by status.

    No document for training may contain `held_out` texts, nor those of `crawl.held_out_files`.
    """
    documents = store.curation.undecided_documents()
    if documents.num_rows == 0:
        return {}
    texts = chain(held_out, held_out_texts(config.held_out_files))
    store.curation.add_held_out_grams(held_out_grams(texts))
    ids = documents.column("document_id").to_pylist()
    pools = dict(zip(ids, documents.column("pool").to_pylist(), strict=True))
    marks = _quality_marks(store, documents, config)
    candidates = [document_id for document_id in ids if document_id not in marks]
    marks |= cluster_marks(*store.curation.similar_documents(candidates), set(candidates))
    for document_id in _contaminated(store, config, pools, marks):
        marks[document_id] = replace(marks[document_id], status="contaminated", reason=CONTAMINATED)
    store.curation.mark_documents(_mark_table(marks), generation)
    statuses = [mark.status for document_id, mark in marks.items() if document_id in pools]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def _quality_marks(store: Store, documents: pa.Table, config: CrawlConfig) -> dict[str, Mark]:
    """Marks of the documents that are dropped for canaries, language or quality."""
    marks: dict[str, Mark] = {}
    ids = documents.column("document_id").to_pylist()
    reasons = drop_reasons(
        config.policy, ids, store.curation.undecided_signals(), config.min_document_chars
    )
    for document_id, language in zip(ids, documents.column("language").to_pylist(), strict=True):
        if config.languages and language not in config.languages:
            marks[document_id] = Mark("filtered", OTHER_LANGUAGE)
        elif reasons[document_id]:
            marks[document_id] = Mark("filtered", reasons[document_id])
    if config.canaries:
        marks |= {
            document_id: Mark("contaminated", CANARY)
            for document_id in store.curation.documents_containing(config.canaries)
        }
    return marks


def _contaminated(
    store: Store, config: CrawlConfig, pools: dict[str, str], marks: dict[str, Mark]
) -> set[str]:
    """New training texts that overlap with held-out ones, and new held-out texts that overlap with
    old training texts.
    """
    old = store.curation.pool_members()
    new = {
        pool: [i for i, p in pools.items() if p == pool and marks[i].status == "kept"]
        for pool in set(pools.values())
    }
    pools_held_out = tuple(config.held_out_shares())
    new_held_out = [i for pool in pools_held_out for i in new.get(pool, [])]
    contaminated = overlapping(store, config.max_overlap, new_held_out, old.get("train", []))
    held_out = [i for i in new_held_out if i not in contaminated]
    for pool in (*pools_held_out, "file"):
        held_out += old.get(pool, [])
    return contaminated | overlapping(store, config.max_overlap, new.get("train", []), held_out)


def overlapping(
    store: Store, max_overlap: float, documents: list[str], others: list[str]
) -> set[str]:
    """The documents that share too many 10-grams or 13-grams with the others."""
    if not documents or not others:
        return set()
    ids: set[str] = set()
    for size, max_share in zip(sorted(GRAM_SIZES), (2 * max_overlap, max_overlap), strict=True):
        table = store.curation.overlaps(documents, others, size)
        columns = (table.column(name).to_pylist() for name in table.column_names)
        for document_id, own_share, largest_other_share in zip(*columns, strict=True):
            if own_share >= max_share or largest_other_share >= WHOLE_ITEM:
                ids.add(document_id)
    return ids


def _mark_table(marks: dict[str, Mark]) -> pa.Table:
    ids = list(marks)
    return pa.table(
        {
            "document_id": pa.array(ids, pa.string()),
            "status": pa.array([marks[i].status for i in ids], pa.string()),
            "reason": pa.array([marks[i].reason for i in ids], pa.string()),
            "cluster_id": pa.array([marks[i].cluster_id for i in ids], pa.string()),
            "cluster_size": pa.array([marks[i].cluster_size for i in ids], pa.int64()),
        }
    )
