"""What the steps of labeling share: configuration, budget, store, and the interfaces of the
models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from infra.models.language_model import CompletedText
from infra.records import Document, Sample
from infra.records.labeler import Admission
from infra.store import Store
from judges.config import JudgeConfig
from judges.judgment.batches import Batch
from judges.judgment.elicitation import Subject
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric
from judges.verifying.checks import Claim
from judges.verifying.verifier import VerifiedDocument

ItemT = TypeVar("ItemT")
Admissions = dict[str, Admission]
"""Rubric id -> admission."""
HELD_OUT_REASON = "overlaps with held-out text"


class Verifier(Protocol):
    """Executes the examples of documents and checks completions."""

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        """Return one result per document, in order."""
        ...

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        """Return for each claim whether it is right."""
        ...


class Champion(Protocol):
    """The model that completes prompts, and whose surprise at texts is measured."""

    digest: str

    def complete(
        self, instructions: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """Return one completion per instruction, in order."""
        ...

    def surprise(self, samples: Sequence[Sample]) -> list[float]:
        """Return the bits per byte of each sample's completion, after its prompt if it has one."""
        ...


class HeldOut(Protocol):
    """Knows the held-out texts, which nothing may be learned from."""

    def shares(self, texts: Sequence[str]) -> list[float]:
        """Return for each text the share of its word n-grams that also occur in a held-out text."""
        ...


@dataclass(frozen=True)
class LabelBudget:
    """Limits for one generation's labels."""

    label_tokens: int
    num_prompts: int
    num_instructions: int


@dataclass(frozen=True)
class LabelingContext:
    """Everything that the steps of labeling share."""

    store: Store
    config: JudgeConfig
    budget: LabelBudget
    generation: int
    seed: int
    judge: Judge
    verifier: Verifier
    champion: Champion
    held_out: HeldOut
    older: Champion | None = None
    tuned: Champion | None = None
    """The champion after it has learned the development texts; None if there are none."""
    judges_passages: bool = True
    """Whether passages are judged; else they are only chosen."""

    def chunks(self, items: Sequence[ItemT]) -> list[Sequence[ItemT]]:
        """Split items into chunks; the store commits after each of them."""
        size = self.config.chunk_size
        return [items[i : i + size] for i in range(0, len(items), size)]

    def learnable(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples without too much held-out text; the others are recorded as drops."""
        shares = self.held_out.shares([s.text for s in samples])
        most = self.config.max_held_out_share
        drops = [
            (HELD_OUT_REASON, s.sample_id)
            for s, share in zip(samples, shares, strict=True)
            if share > most
        ]
        self.store.run.note_drops(self.generation, "label", drops)
        return [s for s, share in zip(samples, shares, strict=True) if share <= most]

    def batch(self, rubric: Rubric, admission: Admission, subjects: Sequence[Subject]) -> Batch:
        """Return a batch of subjects, to be valued with the admitted method."""
        return Batch(
            rubric,
            "pointwise",
            admission.method,
            subjects=subjects,
            seed=self.seed,
            generation=self.generation,
        )
