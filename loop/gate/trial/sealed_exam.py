"""The sealed exam: promoted champions and the anchor on documents that no decision ever reads."""

from __future__ import annotations

from dataclasses import dataclass

from infra.console import note
from infra.records import Checkpoint, Decision, Evaluation, ItemScore, unit_hash
from infra.store import Store
from loop.gate.config import GateConfig
from loop.gate.estimates import clustered_mean_and_error, window
from loop.gate.suites.base import Scorer
from loop.gate.trial.trial import GAIN

EXAM = "sealed_exam"
BITS = "bits_per_byte_sealed"
"""Of its own, so that nothing that asks for the gate's measure can find it."""


@dataclass(frozen=True)
class Exam:
    """A promoted candidate and the anchor, which `scorer` holds as its first and its last model."""

    store: Store
    config: GateConfig
    scorer: Scorer
    decision: Decision
    anchor: Checkpoint
    salt: str

    def is_due(self) -> bool:
        """Whether the candidate was promoted and has not sat it."""
        sat = any(
            e.suite == EXAM and e.attempt == self.decision.attempt for e in self.store.evaluations()
        )
        return self.decision.outcome == "promote" and self.config.exam_documents > 0 and not sat

    def sit(self) -> None:
        """Score both on sealed documents; what comes out is only stored.

        The documents are drawn by the run's salt alone: the same in each generation, but for what
        the crawl has added.
        """
        documents = sorted(
            self.store.documents("sealed"), key=lambda d: unit_hash(self.salt, EXAM, d.document_id)
        )
        documents = documents[: self.config.exam_documents]
        if not documents:
            note("sealed exam: there are no sealed documents (crawl.sealed_share)")
            return
        attempt, units = self.decision.attempt, [d.url for d in documents]
        texts = [window(d.text, self.config.document_chars, d.document_id) for d in documents]
        rows = self.scorer.bits(texts)
        pairs = ((self.decision.candidate, rows[0]), (self.anchor.digest, rows[-1]))
        scores = [
            ItemScore(
                attempt, EXAM, d.document_id, i, digest, bits[i], len(texts[i].encode()), "", d.url
            )
            for digest, bits in pairs
            for i, d in enumerate(documents)
        ]
        gains = [anchor - own for own, anchor in zip(rows[0], rows[-1], strict=True)]
        measures = [
            *((BITS, digest, bits) for digest, bits in pairs),
            (GAIN, self.decision.candidate, gains),
        ]
        self.store.add_item_scores(scores)
        self.store.add_evaluations(
            [
                Evaluation(
                    attempt,
                    self.decision.generation,
                    EXAM,
                    metric,
                    digest,
                    *clustered_mean_and_error(values, units),
                    len(values),
                )
                for metric, digest, values in measures
            ]
        )
