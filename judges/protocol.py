"""What a labeler is: whoever values texts and compares pairs by a rubric, with reasons where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from judges.pairs import Comparison, Pair
from judges.rubrics import Rubric
from judges.ways import Subject

if TYPE_CHECKING:
    from infra.language_model import CompletedText


@dataclass(frozen=True)
class Answer:
    """What a labeler said of one subject: a value, or None with the reason why not."""

    value: float | None
    reason: str = ""
    num_tokens: int = 0


class Judge(Protocol):
    """Plug-in point: whoever labels."""

    @property
    def name(self) -> str:
        """Who it is, with a digest of its weights or dials; goes into every judgment."""
        ...

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways of asking that it knows."""
        ...

    @property
    def values_sides(self) -> bool:
        """Whether its ways value each side of a pair alone, so that `choice` is one more way of asking about pairs."""
        ...

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """One answer a subject, in order."""
        ...

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """One comparison a pair, in order; `way` is one of `ways`, or `choice` where those value each side alone."""
        ...

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """How it goes on with each prompt."""
        ...


class AroundJudge:
    """A labeler around another one, which it answers like in all that it does not do itself."""

    judge: Judge

    @property
    def name(self) -> str:
        """See `Judge`."""
        return self.judge.name

    @property
    def ways(self) -> tuple[str, ...]:
        """See `Judge`."""
        return self.judge.ways

    @property
    def values_sides(self) -> bool:
        """See `Judge`."""
        return self.judge.values_sides

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`."""
        return self.judge.score(rubric, way, subjects)

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`."""
        return self.judge.compare(rubric, way, pairs)

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge`."""
        return self.judge.complete(prompts, max_new_tokens, temperature, seed)
