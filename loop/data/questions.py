"""Questions about held-out pages, for the aim `answers`: made before the labeler sees anything.

The executed examples of a page ask what a statement prints; the sandbox knows the answer. An asker
that does not label writes questions whose answers are words of the page (`aim.answers`). They are
stored as samples of a kind that no training reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from crawlers.config import HELD_OUT_POOLS
from infra.console import note, progress, warn
from infra.records import Document, Sample
from infra.store import Store
from judges.judgment.protocol import Judge
from judges.making.context import Verifier
from judges.making.demonstrations.extractive import write_extractive
from judges.making.passages.cutting import choose_passages

QUESTION_KIND = "question"
"""The kind of these samples."""
DOCUMENTS_AT_ONCE = 8


@dataclass(frozen=True)
class HeldOutAsker:
    """Writes the questions about one generation's held-out pages; a killed run goes on."""

    store: Store
    verifier: Verifier
    asker: Judge | None
    passages_per_page: int
    passage_chars: int
    generation: int
    seed: int

    def run(self) -> None:
        """Write and store the questions of all pages that have none yet."""
        for pool in HELD_OUT_POOLS:
            asked = {s.document_id for s in self._stored(pool)}
            documents = [
                document
                for document in self.store.crawl.documents(pool, self.generation)
                if document.document_id not in asked
            ]
            with progress(f"asking about pages ({pool})", total=len(documents)) as advance:
                for start in range(0, len(documents), DOCUMENTS_AT_ONCE):
                    chunk = documents[start : start + DOCUMENTS_AT_ONCE]
                    self.store.labels.add_samples(self._questions(chunk))
                    advance(len(chunk))
            self._report(pool)

    def _stored(self, pool: str) -> list[Sample]:
        return self.store.labels.pool_samples(QUESTION_KIND, pool)

    def _report(self, pool: str) -> None:
        """Say how many questions there are; without any, nothing can be promoted."""
        questions = self._stored(pool)
        num_pages = len({s.document_id for s in questions})
        all_pages = self.store.crawl.pool_counts().get(pool, 0)
        text = f"{len(questions):,} questions about {num_pages:,} of {all_pages:,} pages ({pool})"
        if pool == "gate" and not questions:
            remedy = "set aim.answers.passages_per_page and aim.answers.asker"
            warn(f"{text}: nothing can be promoted; {remedy}")
        else:
            note(text)

    def _questions(self, documents: Sequence[Document]) -> list[Sample]:
        with_examples = [d for d in documents if ">>>" in d.text]
        results = self.verifier.verify(with_examples, self.generation)
        samples = [s for result in results for s in result.demonstrations]
        if self.asker is not None:
            passages = [p for document in documents for p in self._passages(document)]
            samples += write_extractive(self.asker, passages, self.seed, self.generation)
        return [replace(sample, kind=QUESTION_KIND) for sample in samples]

    def _passages(self, document: Document) -> list[Sample]:
        budget = self.passages_per_page * self.passage_chars
        chosen = choose_passages(
            [document], self.passage_chars, budget, self.generation, str(self.seed)
        )
        return chosen[: self.passages_per_page]
