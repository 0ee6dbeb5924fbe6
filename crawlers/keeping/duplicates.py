"""Joins near-duplicates into clusters and decides which document of each cluster is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

DUPLICATE = "near-duplicate"


@dataclass(frozen=True)
class Mark:
    """The decision on a document: status, reason, and its cluster of near-duplicates."""

    status: str
    reason: str = ""
    cluster_id: str = ""
    cluster_size: int = 1


@dataclass(frozen=True, slots=True)
class _Member:
    """A document of a cluster; `is_new` if it is still undecided."""

    document_id: str
    cluster_id: str
    status: str
    pool: str
    num_chars: int
    is_new: bool

    @property
    def is_kept(self) -> bool:
        return self.status == "kept"


def cluster_marks(nodes: pa.Table, edges: pa.Table, candidates: set[str]) -> dict[str, Mark]:
    """Cluster documents and keep one of each cluster; returns the marks that change.

    `nodes` has the columns document_id, cluster_id, status, pool and num_chars. `edges` has the
    columns a and b, pairs of similar documents. `candidates` are the undecided documents.
    """
    marks: dict[str, Mark] = {}
    if not candidates:
        return marks
    names = ("document_id", "cluster_id", "status", "pool", "num_chars")
    columns = [nodes.column(name).to_pylist() for name in names]
    members = [
        _Member(document_id, cluster_id, status, pool, num_chars, document_id in candidates)
        for document_id, cluster_id, status, pool, num_chars in zip(*columns, strict=True)
    ]
    for component in _components(members, edges):
        if any(member.is_new for member in component):
            marks |= _component_marks(component)
    return marks


def _component_marks(members: list[_Member]) -> dict[str, Mark]:
    """The marks of one cluster; documents of earlier clusters that stay as they are get none."""
    kept = [member for member in members if member.is_kept]
    best = _best(members, kept)
    cluster_id = next((m.cluster_id for m in kept if m.cluster_id), best.document_id)
    marks = {}
    for member in members:
        if member is best:
            marks[member.document_id] = Mark("kept", "", cluster_id, len(members))
        elif member.is_new or (member.is_kept and len(kept) == 1):
            marks[member.document_id] = Mark("duplicate", DUPLICATE, cluster_id, len(members))
    return marks


def _best(members: list[_Member], kept: list[_Member]) -> _Member:
    """The document of a cluster to keep.

    A new cluster keeps its longest text. A cluster with a kept document keeps it, except that a
    longer new training text replaces a training text. If a new text joins several clusters, the
    first kept document stays.
    """
    rivals = members
    if kept:
        rivals = [kept[0]]
        if len(kept) == 1 and kept[0].pool == "train":
            rivals += [m for m in members if m.is_new and m.pool == "train"]
    return max(rivals, key=lambda m: (m.num_chars, m.is_kept, m.document_id))


def _components(members: list[_Member], edges: pa.Table) -> Iterator[list[_Member]]:
    """Connected components, over the edges and over the clusters of earlier generations."""
    position = {member.document_id: i for i, member in enumerate(members)}
    columns = (edges.column(name).to_pylist() for name in ("a", "b"))
    pairs = [(position[a], position[b]) for a, b in zip(*columns, strict=True)]
    first: dict[str, int] = {}
    for i, member in enumerate(members):
        if member.cluster_id:
            pairs.append((first.setdefault(member.cluster_id, i), i))
    starts, ends = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    weights = np.ones(len(starts), dtype=np.int8)
    graph = coo_matrix((weights, (starts, ends)), shape=(len(members), len(members)))
    number, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    for part in np.split(order, np.searchsorted(labels[order], np.arange(1, number))):
        yield [members[i] for i in part]
