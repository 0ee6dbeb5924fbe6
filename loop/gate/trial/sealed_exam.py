"""The sealed exam: promoted champions and the anchor on documents that no decision ever reads."""

from __future__ import annotations

from dataclasses import dataclass

from infra.console import note
from infra.records import Checkpoint, Decision, Document, unit_hash
from infra.store import Store
from loop.gate.config import GateConfig
from loop.gate.estimates import window
from loop.gate.suites.base import Item, Scorer
from loop.gate.trial.score_records import ScoreRecords
from loop.gate.trial.suite_tests import GAIN

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
        items = [
            Item(document.document_id, document.url, i, len(text.encode()), text)
            for i, (document, text) in enumerate(zip(documents, texts, strict=True))
        ]
        rows = self.scorer.bits(texts)
        own, anchor = rows[0], rows[-1]
        candidate, units = self.decision.candidate, [d.url for d in documents]
        bits = {candidate: own, self.anchor.digest: anchor}
        gains = {candidate: [b - a for a, b in zip(own, anchor, strict=True)]}
        records = ScoreRecords(self.decision.attempt, self.decision.generation, EXAM_SUITE)
        self.store.gate.add_item_scores(records.item_scores(items, bits))
        means = [*records.means(SEALED_BITS, bits, units), *records.means(GAIN, gains, units)]
        self.store.gate.add_evaluations(means)

    def _documents(self) -> list[Document]:
        documents = self.store.crawl.documents("sealed")
        documents.sort(key=lambda d: unit_hash(self.salt, EXAM_SUITE, d.document_id))
        return documents[: self.config.exam_documents]
