"""What one generation's labeling works with: its budget, and whoever verifies, completes, embeds
and remembers.
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
from judges.judgment.elicitation import Subject
from judges.judgment.judging import Batch
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric
from judges.verifying.checks import Claim
from judges.verifying.verifier import VerifiedDocument

Item = TypeVar("Item")
Admissions = dict[str, Admission]
"""Rubric id to admission."""
HELD_OUT_REASON = "overlaps with held-out text"


class Verifier(Protocol):
    """Executes the examples of documents, and checks completions."""

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        """One result a document, in order."""
        ...

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        """Whether each claim is right."""
        ...


class Champion(Protocol):
    """The model that completes prompts, and whose surprise at a text is measured."""

    digest: str

    def complete(
        self, instructions: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """One completion an instruction."""
        ...

    def surprise(self, texts: Sequence[str]) -> list[float]:
        """Bits per byte of each text."""
        ...


class Encoder(Protocol):
    """A frozen model as a source of features; the same through all generations."""

    digest: str

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text."""
        ...


class HeldOut(Protocol):
    """Knows the texts that nothing may be learned from."""

    def shares(self, texts: Sequence[str]) -> list[float]:
        """For each text the share of its longer runs of words that a held-out one has too."""
        ...


@dataclass(frozen=True)
class LabelBudget:
    """What a generation may spend on labels."""

    label_tokens: int
    num_prompts: int
    num_instructions: int


@dataclass(frozen=True)
class Parts:
    """Everything that the steps of labeling share."""

    store: Store
    config: JudgeConfig
    budget: LabelBudget
    generation: int
    seed: int
    judge: Judge
    verifier: Verifier
    champion: Champion
    encoder: Encoder
    held_out: HeldOut
    older: Champion | None = None

    def chunks(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """The items between two commits at a time."""
        size = self.config.chunk_size
        return [items[i : i + size] for i in range(0, len(items), size)]

    def learnable(self, samples: Sequence[Sample]) -> list[Sample]:
        """Samples but for those of which too much is held-out text; these are counted as drops."""
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
        """Subjects to be valued in the way to which the labeler was admitted."""
        return Batch(
            rubric,
            "pointwise",
            admission.way,
            subjects=subjects,
            seed=self.seed,
            generation=self.generation,
        )
