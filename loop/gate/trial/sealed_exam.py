"""The sealed exam: promoted champions and the anchor on documents that no decision ever reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.console import note
from infra.records import Checkpoint, Decision, Document, Evaluation, ItemScore, unit_hash
from infra.store import Store
from loop.gate.config import GateConfig
from loop.gate.estimates import clustered_mean_and_error, window
from loop.gate.suites.base import Scorer
from loop.gate.trial.suite_test import GAIN

EXAM_SUITE = "sealed_exam"
SEALED_BITS = "bits_per_byte_sealed"
"""A name of its own, so that no query for the gate's measure can return it."""


@dataclass(frozen=True)
class SealedExam:
    """A promoted candidate and the anchor: the first and the last model that `scorer` holds."""

    store: Store
    config: GateConfig
    scorer: Scorer
    decision: Decision
    anchor: Checkpoint
    salt: str

    def is_due(self) -> bool:
        """Whether the candidate was promoted and the exam has not been run for it."""
        is_done = any(
            e.suite == EXAM_SUITE and e.attempt == self.decision.attempt
            for e in self.store.gate.evaluations()
        )
        is_promoted = self.decision.outcome == "promote"
        return is_promoted and self.config.exam_documents > 0 and not is_done

    def run(self) -> None:
        """Score both models on the sealed documents and store the scores; nothing else reads them.

        The documents depend only on the salt of the run: they are the same in each generation,
        apart from documents that the crawl has added.
        """
        documents = self._documents()
        if not documents:
            note("sealed exam: there are no sealed documents (crawl.sealed_share)")
            return
        texts = [window(d.text, self.config.document_chars, d.document_id) for d in documents]
        rows = self.scorer.bits(texts)
        own, anchor = rows[0], rows[-1]
        bits = {self.decision.candidate: own, self.anchor.digest: anchor}
        units = [d.url for d in documents]
        gains = [b - a for a, b in zip(own, anchor, strict=True)]
        self.store.gate.add_item_scores(self._item_scores(bits, documents, texts))
        self.store.gate.add_evaluations(
            [
                *(
                    self._evaluation(SEALED_BITS, digest, row, units)
                    for digest, row in bits.items()
                ),
                self._evaluation(GAIN, self.decision.candidate, gains, units),
            ]
        )

    def _documents(self) -> list[Document]:
        documents = self.store.crawl.documents("sealed")
        documents.sort(key=lambda d: unit_hash(self.salt, EXAM_SUITE, d.document_id))
        return documents[: self.config.exam_documents]

    def _item_scores(
        self, bits: dict[str, list[float]], documents: Sequence[Document], texts: Sequence[str]
    ) -> list[ItemScore]:
        return [
            ItemScore(
                attempt=self.decision.attempt,
                suite=EXAM_SUITE,
                item_id=document.document_id,
                position=i,
                model_digest=digest,
                value=row[i],
                size=len(texts[i].encode()),
                detail="",
                unit=document.url,
            )
            for digest, row in bits.items()
            for i, document in enumerate(documents)
        ]

    def _evaluation(
        self, metric: str, digest: str, values: Sequence[float], units: Sequence[str]
    ) -> Evaluation:
        mean, error = clustered_mean_and_error(values, units)
        attempt, generation = self.decision.attempt, self.decision.generation
        return Evaluation(attempt, generation, EXAM_SUITE, metric, digest, mean, error, len(values))
