"""The head: ridge regression from a frozen encoder's vectors to the labeler's ranks.

It costs one forward pass of the encoder per text, so that a whole crawl can be scored. It is used
only if its out-of-fold correlation with the labeler is above that of text length, with 95%
confidence. Its drift is measured on the passages that are judged in the next generation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from infra.records import Sample, unit_hash
from infra.records.labeler import Head
from judges.measuring.intervals import paired_interval

Floats = NDArray[np.float64]
MIN_PASSAGES = 64
"""Minimum number of judged passages to fit a head."""
ALPHAS = tuple(10.0**k for k in range(-2, 6))
FOLDS = 8
STRATA = 5


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def _scaled(vectors: Floats) -> tuple[Floats, Floats, Floats]:
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return (vectors - mean) / spread, mean, spread


def fit_head(
    vectors: Floats,
    values: Floats,
    texts: Sequence[str],
    encoder: str,
    generation: int,
    drift: tuple[float, ...],
) -> Head:
    """Return a head fitted to vectors, shape (passages, features), and ranks in [0, 1], with its
    out-of-fold correlation.
    """
    scaled, mean, spread = _scaled(vectors)
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(RidgeCV(ALPHAS), scaled, values, cv=folds)
    interval = paired_interval(predicted, values, _correlation)
    by_length = abs(_correlation(np.array([len(text) for text in texts], dtype=np.float64), values))
    model = RidgeCV(ALPHAS).fit(scaled, values)
    weights = model.coef_ / spread
    return Head(
        generation=generation,
        encoder=encoder,
        weights=tuple(weights.tolist()),
        intercept=float(model.intercept_ - weights @ mean),
        num_passages=len(values),
        correlation=interval.value,
        correlation_low=interval.low,
        correlation_high=interval.high,
        by_length=by_length,
        admitted=bool(interval.low > by_length),
        drift_correlation=drift[0],
        drift_bias=drift[1],
    )


def head_values(head: Head, vectors: Floats) -> Floats:
    """Return the predicted ranks in [0, 1], shape (passages,)."""
    if len(vectors) == 0:
        return np.zeros(0)
    return np.asarray(np.clip(vectors @ np.array(head.weights) + head.intercept, 0.0, 1.0))


def head_drift(head: Head, vectors: Floats, values: Floats) -> tuple[float, float]:
    """Return (correlation, bias) of an earlier head on the labeler's new ranks. NaN bias for no
    passages.
    """
    if len(values) == 0:
        return _correlation(values, values), math.nan
    predicted = head_values(head, vectors)
    return _correlation(predicted, values), float(np.mean(predicted - values))


def stratified(samples: Sequence[Sample], values: Floats, seed: int) -> list[Sample]:
    """Return the samples in an order that takes one from each fifth of the values in turn; within a
    fifth the order is by hash.
    """
    ranked = [samples[i] for i in np.argsort(values, kind="stable")]
    strata = [list(part) for part in np.array_split(np.array(ranked, dtype=object), STRATA)]
    order: list[tuple[float, int, Sample]] = []
    for number, stratum in enumerate(strata):
        by_hash = sorted(stratum, key=lambda s: unit_hash(seed, "stratum", s.sample_id))
        order += [(turn, number, sample) for turn, sample in enumerate(by_hash)]
    return [sample for _, _, sample in sorted(order, key=lambda item: item[:2])]
