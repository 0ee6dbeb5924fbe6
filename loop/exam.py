"""The sealed exam: promoted champions and the anchor on documents that no decision ever reads."""

from __future__ import annotations

from infra.console import note
from infra.records import Evaluation, ItemScore, unit_hash
from loop.deciding import GAIN, Trial
from loop.evaluation import clustered_mean_and_error, window

EXAM = "sealed_exam"
BITS = "bits_per_byte_sealed"
"""Of its own, so that nothing that asks for the gate's measure can find it."""


def sit_exam(trial: Trial) -> None:
    """Score a candidate that was promoted, and the anchor, on sealed documents; what comes out is only stored.

    The documents are drawn by the run's salt alone: the same in each generation, but for what the crawl has added.
    """
    config, store = trial.config, trial.store
    documents = sorted(store.documents("sealed"), key=lambda d: unit_hash(trial.salt, EXAM, d.document_id))
    documents = documents[: config.exam_documents]
    if not documents:
        note("sealed exam: there are no sealed documents (crawl.sealed_share)")
        return
    texts = [window(d.text, config.document_chars, d.document_id) for d in documents]
    rows = trial.scorer.bits(texts)
    pairs = ((trial.candidate.digest, rows[0]), (trial.rivals.anchor.digest, rows[-1]))
    units = [d.url for d in documents]
    scores = [
        ItemScore(trial.attempt, EXAM, d.document_id, i, digest, bits[i], len(texts[i].encode()), "", d.url)
        for digest, bits in pairs
        for i, d in enumerate(documents)
    ]
    gains = [anchor - own for own, anchor in zip(rows[0], rows[-1], strict=True)]
    measures = [*((BITS, digest, bits) for digest, bits in pairs), (GAIN, trial.candidate.digest, gains)]
    store.add_item_scores(scores)
    store.add_evaluations([
        Evaluation(trial.attempt, trial.generation, EXAM, metric, digest, *clustered_mean_and_error(values, units),
                   len(values))
        for metric, digest, values in measures
    ])  # fmt: skip
