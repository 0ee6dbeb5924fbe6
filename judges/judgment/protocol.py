"""The interface of a labeler: it values texts, compares pairs and ranks lists.

Every result has either a score or a reason why there is none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from infra.records import Judgment
from judges.judgment.answers import LabelerAnswer
from judges.judgment.batches import Batch, listwise_rows, pairwise_rows, pointwise_rows
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.rubrics import Rubric

if TYPE_CHECKING:
    from infra.models.language_model import CompletedText


class Judge(ABC):
    """Plug-in point: a labeler. Prompts and stored records are the same for all labelers."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The labeler's name with a digest of its weights or settings. It is stored with every
        judgment.
        """

    @property
    @abstractmethod
    def methods(self) -> tuple[str, ...]:
        """The elicitation methods that the labeler supports."""

    @property
    @abstractmethod
    def values_sides(self) -> bool:
        """Whether the labeler's methods value each text alone. If so, `choice` is one more method
        for pairs and lists.
        """

    @property
    def cost(self) -> float:
        """What the run has paid for the labeler, in the currency of the recipe's prices."""
        return 0.0

    @abstractmethod
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        """Return one answer per subject, in order."""

    @abstractmethod
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """Return one comparison per pair, in order.

        `method` is one of `methods`. It may also be `choice` if `values_sides` is true.
        """

    @abstractmethod
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        """Return one ranking per list, in order. `method` is as in `compare`."""

    @abstractmethod
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """Return one completion per prompt, in order."""

    def judge(self, batch: Batch) -> list[Judgment]:
        """Return one judgment per item, in order. It is scored, or unscored with a reason."""
        if batch.mode == "pointwise":
            return pointwise_rows(
                self.name, batch, self.score(batch.rubric, batch.method, batch.subjects)
            )
        if batch.mode == "pairwise":
            return pairwise_rows(
                self.name, batch, self.compare(batch.rubric, batch.method, batch.pairs)
            )
        return listwise_rows(
            self.name, batch, self.rank(batch.rubric, batch.method, batch.candidate_lists)
        )


class JudgeWrapper(Judge):
    """A labeler that wraps another one. Methods that are not overridden call the inner labeler."""

    inner: Judge

    @property
    @override
    def name(self) -> str:
        return self.inner.name

    @property
    @override
    def methods(self) -> tuple[str, ...]:
        return self.inner.methods

    @property
    @override
    def values_sides(self) -> bool:
        return self.inner.values_sides

    @property
    @override
    def cost(self) -> float:
        return self.inner.cost

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        return self.inner.score(rubric, method, subjects)

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        return self.inner.compare(rubric, method, pairs)

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        return self.inner.rank(rubric, method, candidate_lists)

    @override
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        return self.inner.complete(prompts, max_new_tokens, temperature, seed)
