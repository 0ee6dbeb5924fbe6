"""What a labeler is: whoever values texts, compares pairs and ranks lists, with reasons where it
does not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.records import Judgment
from judges.judgment.answers import Answer
from judges.judgment.elicitation import Subject
from judges.judgment.judging import Batch, listwise_rows, pairwise_rows, pointwise_rows
from judges.judgment.listwise import Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.rubrics import Rubric

if TYPE_CHECKING:
    from infra.models.language_model import CompletedText


class Judge(ABC):
    """Plug-in point: whoever labels. What it is asked, and how it is recorded, is the same for all."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Who it is, with a digest of its weights or dials; goes into every judgment."""

    @property
    @abstractmethod
    def ways(self) -> tuple[str, ...]:
        """The ways of asking that it knows."""

    @property
    @abstractmethod
    def values_sides(self) -> bool:
        """Whether its ways value each text alone, so that `choice` is one more way of asking about
        pairs and lists.
        """

    @abstractmethod
    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """One answer a subject, in order."""

    @abstractmethod
    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """One comparison a pair, in order; `way` is one of `ways`, or `choice` where those value
        each side alone.
        """

    @abstractmethod
    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """One ranking a list, in order; `way` as in `compare`."""

    @abstractmethod
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """How it goes on with each prompt."""

    def judge(self, batch: Batch) -> list[Judgment]:
        """One judgment an item, in order: scored with all it rests on, or unscored with a reason."""
        if batch.mode == "pointwise":
            return pointwise_rows(
                self.name, batch, self.score(batch.rubric, batch.way, batch.subjects)
            )
        if batch.mode == "pairwise":
            return pairwise_rows(
                self.name, batch, self.compare(batch.rubric, batch.way, batch.pairs)
            )
        return listwise_rows(self.name, batch, self.rank(batch.rubric, batch.way, batch.listings))


class AroundJudge(Judge):
    """A labeler around another one, which it answers like in all that it does not do itself."""

    inner: Judge

    @property
    def name(self) -> str:
        """See `Judge`."""
        return self.inner.name

    @property
    def ways(self) -> tuple[str, ...]:
        """See `Judge`."""
        return self.inner.ways

    @property
    def values_sides(self) -> bool:
        """See `Judge`."""
        return self.inner.values_sides

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`."""
        return self.inner.score(rubric, way, subjects)

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`."""
        return self.inner.compare(rubric, way, pairs)

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge`."""
        return self.inner.rank(rubric, way, listings)

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge`."""
        return self.inner.complete(prompts, max_new_tokens, temperature, seed)
