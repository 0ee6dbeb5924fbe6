"""What value goes with: the labeler's rubrics, plain properties of the text, and what made it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from infra.models.text_size import compression_ratio
from infra.store.queries import labels as label_queries
from infra.store.reader import QueryRow, Reader
from judges.making.passages.value import share_ranks
from loop.gate.estimates import clustered_mean_and_error

MIN_PASSAGES = 10
"""Fewer passages with a value and a feature say nothing."""


def value_features(reader: Reader, generation: int) -> list[QueryRow]:
    """One row for each feature of passages: the largest slope first.

    `slope` is the slope of the value (bits per byte) over the rank of the feature (0 to 1), with
    its standard error, clustered by document: how much more value the passages have that are ranked
    highest than those that are ranked lowest. A rubric whose slope is about 0 says nothing of what
    the model learns; below 0 it prefers what teaches less.
    """
    samples = label_queries.valued_samples(reader, generation)
    passages = {row["sample_id"]: row for row in samples if row["kind"] == "passage"}
    if not passages:
        return []
    features: dict[str, dict[str, float]] = {
        "surprise": {key: row["bits"] for key, row in passages.items()},
        "length": {key: float(len(row["text"])) for key, row in passages.items()},
        "compression ratio": {key: compression_ratio(row["text"]) for key, row in passages.items()},
    }
    for row in label_queries.passage_judgments(reader, generation):
        if row["subject_id"] in passages:
            features.setdefault(f"rubric {row['rubric']}", {})[row["subject_id"]] = row["value"]
    rows = [_row(name, values, passages) for name, values in features.items()]
    return sorted(rows, key=lambda r: -r["slope"] if math.isfinite(r["slope"]) else math.inf)


def value_makers(reader: Reader, generation: int) -> list[QueryRow]:
    """One row for each maker of samples: the largest mean value first.

    The value of a demonstration is that of its answer, given its question, in bits per byte. The
    standard error is clustered by document.
    """
    by_maker: dict[str, list[QueryRow]] = {}
    for row in label_queries.valued_samples(reader, generation):
        by_maker.setdefault(_maker(row), []).append(row)
    rows = []
    for name, members in by_maker.items():
        values = [member["value"] for member in members]
        mean, error = clustered_mean_and_error(values, [m["document_id"] for m in members])
        rows.append({"name": name, "samples": len(members), "mean": mean, "error": error})
    return sorted(rows, key=lambda r: -r["mean"])


def _maker(row: QueryRow) -> str:
    """What made a sample, in words."""
    if row["kind"] == "passage":
        return "passages"
    if row["origin"] == "web":
        return "stated equations" if row["check"] == "math" else "executed examples"
    return "questions with short answers" if row["check"] == "quote" else "questions"


def _row(name: str, feature: Mapping[str, float], passages: Mapping[str, QueryRow]) -> QueryRow:
    ranks = share_ranks(feature)
    values = [passages[key]["value"] for key in ranks]
    documents = [passages[key]["document_id"] for key in ranks]
    slope, error = clustered_slope(list(ranks.values()), values, documents)
    return {"name": name, "passages": len(ranks), "slope": slope, "error": error}


def clustered_slope(
    x: Sequence[float], y: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[float, float]:
    """The least-squares slope of y over x, and its standard error clustered (Liang and Zeger 1986).

    NaN for fewer than `MIN_PASSAGES` points, or if all x are the same.
    """
    deviations = np.asarray(x, dtype=np.float64) - np.mean(x) if x else np.zeros(0)
    squares = float(np.sum(deviations**2))
    if len(x) < MIN_PASSAGES or squares < 1e-12:
        return math.nan, math.nan
    centred = np.asarray(y, dtype=np.float64) - np.mean(y)
    slope = float(np.sum(deviations * centred)) / squares
    first: dict[Hashable, int] = {}
    indices = [first.setdefault(cluster, len(first)) for cluster in clusters]
    sums = np.bincount(indices, weights=deviations * (centred - slope * deviations))
    count = len(first)
    if count < 2:
        return slope, math.nan
    return slope, math.sqrt(count / (count - 1) * float(np.sum(sums**2))) / squares
