"""After a crawl: which of its texts are kept. Quality, duplicates, and overlap with what is held
out, in this order.

All questions are asked first and all answers written at once, so that a killed curation is simply
done again. A text's pool was decided when it was fetched; of near-duplicates only one is kept, so
none straddle pools.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from crawlers.config import CrawlConfig
from crawlers.quality.fingerprints import GRAM_SIZES, sampled_grams
from crawlers.quality.rules import verdicts
from crawlers.quality.words import plain_hashes
from infra.errors import UserError
from infra.records import content_key
from infra.store import Store

CANARY = "canary string"
OTHER_LANGUAGE = "another language"
DUPLICATE = "near-duplicate"
CONTAMINATED = "overlaps with held-out text"
WHOLE_ITEM = 0.5
"""From this share of one held-out text's n-grams on, a document holds that text."""


@dataclass(frozen=True)
class Mark:
    """A document's verdict."""

    status: str
    reason: str = ""
    cluster_id: str = ""
    cluster_size: int = 1


def curate(store: Store, config: CrawlConfig, generation: int) -> dict[str, int]:
    """Decide every new document; how many were kept, and how many not by status."""
    documents = store.curation.undecided_documents()
    if documents.num_rows == 0:
        return {}
    store.curation.add_held_out_grams(held_out_grams(config.held_out_files))
    marks = _quality_marks(store, documents, config)
    candidates = [i for i in documents.column("document_id").to_pylist() if i not in marks]
    marks |= _cluster_marks(*store.curation.similar_documents(candidates), set(candidates))
    pools = dict(
        zip(
            documents.column("document_id").to_pylist(),
            documents.column("pool").to_pylist(),
            strict=True,
        )
    )
    for document_id in _contaminated(store, config, pools, marks):
        mark = marks[document_id]
        marks[document_id] = Mark("contaminated", CONTAMINATED, mark.cluster_id, mark.cluster_size)
    store.curation.mark_documents(_mark_table(marks), generation)
    statuses = [mark.status for document_id, mark in marks.items() if document_id in pools]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def _quality_marks(store: Store, documents: pa.Table, config: CrawlConfig) -> dict[str, Mark]:
    """Documents that canaries, language or policy rule out."""
    marks: dict[str, Mark] = {}
    ids = documents.column("document_id").to_pylist()
    reasons = verdicts(
        config.policy, ids, store.curation.undecided_signals(), config.min_document_chars
    )
    for document_id, language in zip(ids, documents.column("language").to_pylist(), strict=True):
        if config.languages and language not in config.languages:
            marks[document_id] = Mark("filtered", OTHER_LANGUAGE)
        elif reasons[document_id]:
            marks[document_id] = Mark("filtered", reasons[document_id])
    if config.canaries:
        marks |= {
            i: Mark("contaminated", CANARY)
            for i in store.curation.documents_containing(config.canaries)
        }
    return marks


def _cluster_marks(nodes: pa.Table, edges: pa.Table, candidates: set[str]) -> dict[str, Mark]:
    """Join documents into clusters and keep one of each.

    In a cluster that has a kept document of an earlier time, that one stays, unless it is for
    training and a longer text for training has come; in a new cluster the longest text is kept.
    """
    if not candidates:
        return {}
    ids: list[str] = nodes.column("document_id").to_pylist()
    columns = {
        name: nodes.column(name).to_pylist()
        for name in ("cluster_id", "status", "pool", "num_chars")
    }
    marks: dict[str, Mark] = {}
    for members in _components(ids, columns["cluster_id"], edges):
        if not any(ids[m] in candidates for m in members):
            continue
        kept = [m for m in members if columns["status"][m] == "kept"]
        best = _best(members, kept, ids, columns["pool"], columns["num_chars"], candidates)
        name = next((columns["cluster_id"][m] for m in kept if columns["cluster_id"][m]), ids[best])
        for m in members:
            if m == best:
                marks[ids[m]] = Mark("kept", "", name, len(members))
            elif ids[m] in candidates or (m in kept and len(kept) == 1):
                marks[ids[m]] = Mark("duplicate", DUPLICATE, name, len(members))
    return marks


def _components(ids: list[str], clusters: list[str], edges: pa.Table) -> Iterator[list[int]]:
    """Connected components over edges and over what was one cluster before, as lists of positions
    in `ids`.
    """
    position = {document_id: i for i, document_id in enumerate(ids)}
    first: dict[str, int] = {}
    pairs = [
        (position[a], position[b])
        for a, b in zip(*(edges.column(c).to_pylist() for c in ("a", "b")), strict=True)
    ]
    for i, cluster in enumerate(clusters):
        if cluster:
            pairs.append((first.setdefault(cluster, i), i))
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix(
        (np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(len(ids), len(ids))
    )
    number, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    for part in np.split(order, np.searchsorted(labels[order], np.arange(1, number))):
        yield part.tolist()


def _best(
    members: list[int],
    kept: list[int],
    ids: list[str],
    pools: list[str],
    sizes: list[int],
    candidates: set[str],
) -> int:
    """The member to keep. Several kept ones mean that a new text has joined old clusters: the first
    stays.
    """
    rivals = members
    if kept:
        old = kept[0]
        alone = len(kept) == 1 and pools[old] == "train"
        rivals = [
            old,
            *(m for m in members if alone and ids[m] in candidates and pools[m] == "train"),
        ]
    return max(rivals, key=lambda m: (sizes[m], m in kept, ids[m]))


def _contaminated(
    store: Store, config: CrawlConfig, pools: dict[str, str], marks: dict[str, Mark]
) -> set[str]:
    """New training texts that overlap with anything held out, and new held-out ones that overlap
    with old training.
    """
    old = store.curation.pool_members()
    new = {
        pool: [i for i, p in pools.items() if p == pool and marks[i].status == "kept"]
        for pool in set(pools.values())
    }
    held_new = new.get("gate", []) + new.get("sealed", [])
    spoiled = overlapping(store, config.max_overlap, held_new, old.get("train", []))
    held_out = (
        [i for i in held_new if i not in spoiled]
        + old.get("gate", [])
        + old.get("sealed", [])
        + old.get("file", [])
    )
    return spoiled | overlapping(store, config.max_overlap, new.get("train", []), held_out)


def overlapping(
    store: Store, max_overlap: float, documents: list[str], others: list[str]
) -> set[str]:
    """Which documents have too much of the others in them, by 10-grams and by 13-grams."""
    if not documents or not others:
        return set()
    found: set[str] = set()
    for size, most_own in zip(sorted(GRAM_SIZES), (2 * max_overlap, max_overlap), strict=True):
        table = store.curation.overlaps(documents, others, size)
        for document_id, share, most in zip(
            *(table.column(c).to_pylist() for c in table.column_names), strict=True
        ):
            if share >= most_own or most >= WHOLE_ITEM:
                found.add(document_id)
    return found


def held_out_grams(files: Sequence[str]) -> pa.Table:
    """The n-grams of every text in some files: paragraphs of a text file, strings of a JSON-lines
    file.
    """
    ids, sizes, hashes = [], [], []
    for name in files:
        for text in _texts_in(Path(name)):
            grams = sampled_grams(plain_hashes(text))
            for size, found in grams.items():
                if found:
                    ids.append(f"file:{content_key(text)}")
                    sizes.append(size)
                    hashes.append(found)
    return pa.table(
        {
            "document_id": pa.array(ids, pa.string()),
            "size": pa.array(sizes, pa.int64()),
            "hashes": pa.array(hashes, pa.list_(pa.uint64())),
        }
    )


def _texts_in(file: Path) -> Iterator[str]:
    try:
        content = file.read_text(encoding="utf-8")
        if file.suffix not in (".jsonl", ".json"):
            yield from content.split("\n\n")
            return
        for value in [content] if file.suffix == ".json" else content.splitlines():
            if value.strip():
                yield from _strings(json.loads(value))
    except (OSError, ValueError) as error:
        raise UserError(
            "crawl.held_out_files",
            file,
            f"it cannot be read ({error}).",
            "Give text files, JSON, or JSON lines.",
        ) from None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


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
