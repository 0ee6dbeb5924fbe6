"""The sealed exam: promoted champions and the anchor on what no decision ever reads.

That are the sealed documents and, if the aim is an exam, the sealed part of its items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from infra.console import note
from infra.records import Checkpoint, Decision, Document, unit_hash
from infra.store import Store
from loop.gate.aim import AimConfig
from loop.gate.config import GateConfig
from loop.gate.rules import BITS_PER_BYTE
from loop.gate.suites.base import Item, Scorer
from loop.gate.suites.good_text import good_documents
from loop.gate.suites.held_out_text import document_item
from loop.gate.suites.item_files import FileSuite
from loop.gate.suites.recipe_suites import SEALED_ITEMS
from loop.gate.trial.score_records import ScoreRecords
from loop.gate.trial.suite_tests import GAIN

EXAM_SUITE = "sealed_exam"
SEALED = "sealed"
"""Added to the names of measures, so that no query for the gate's measures can return these."""


@dataclass(frozen=True, kw_only=True)
class SealedExam:
    """A promoted candidate and the anchor: the first and the last model that `scorer` holds."""

    store: Store
    config: GateConfig
    aim: AimConfig
    scorer: Scorer
    decision: Decision
    anchor: Checkpoint
    salt: str
    part: FileSuite | None = None
    """The sealed part of the user's exam."""

    def is_due(self) -> bool:
        """Whether the candidate was promoted and some of the exam has not been run for it."""
        return self.decision.outcome == "promote" and bool(self._due_suites())

    def _due_suites(self) -> set[str]:
        """What is to be scored; a run that was killed in between has scored some of it."""
        due = {EXAM_SUITE} if self._documents else set[str]()
        done = {
            e.suite for e in self.store.gate.evaluations() if e.attempt == self.decision.attempt
        }
        return (due | ({SEALED_ITEMS} if self.part else set())) - done

    def run(self) -> None:
        """Score both models on what is sealed and store the scores; nothing else reads them.

        The documents depend only on the salt of the run: they are the same in each generation,
        apart from documents that the crawl has added.
        """
        due = self._due_suites()
        if SEALED_ITEMS in due and self.part:
            self._score_part(self.part)
        if EXAM_SUITE in due:
            self._score_documents()

    def _score_part(self, part: FileSuite) -> None:
        items = part.all_items()[: part.limit]
        rows = part.score(self.scorer, items)
        self._store(SEALED_ITEMS, part.metric, items, rows, part.rule.sign)

    def _score_documents(self) -> None:
        items = [document_item(self.config, d, d.url, i) for i, d in enumerate(self._documents)]
        rows = self.scorer.bits([item.content for item in items])
        self._store(EXAM_SUITE, BITS_PER_BYTE, items, rows, -1.0)

    def _store(
        self,
        suite: str,
        metric: str,
        items: Sequence[Item],
        rows: Sequence[Sequence[float]],
        sign: float,
    ) -> None:
        """Store scores and means; `sign` is -1 where less is better."""
        own, anchor = rows[0], rows[-1]
        candidate, units = self.decision.candidate, [item.unit for item in items]
        values = {candidate: own, self.anchor.digest: anchor}
        gains = {candidate: [sign * (a - b) for a, b in zip(own, anchor, strict=True)]}
        records = ScoreRecords(self.decision.attempt, self.decision.generation, suite)
        self.store.gate.add_item_scores(records.item_scores(items, values))
        means = records.means(f"{metric}_{SEALED}", values, units)
        self.store.gate.add_evaluations([*means, *records.means(GAIN, gains, units)])

    @cached_property
    def _documents(self) -> list[Document]:
        good = set(good_documents(self.store, self.aim, "sealed", self.salt))
        documents = [d for d in self.store.crawl.documents("sealed") if d.document_id in good]
        documents.sort(key=lambda d: unit_hash(self.salt, EXAM_SUITE, d.document_id))
        if self.config.exam_documents and not documents:
            note("sealed exam: there are no sealed documents (crawl.sealed_share)")
        return documents[: self.config.exam_documents]
