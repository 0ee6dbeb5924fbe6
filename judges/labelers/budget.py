"""A limit on the tokens that a labeler may spend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from typing_extensions import override

from infra.console import warn
from infra.models.language_model import CompletedText
from infra.models.text_size import estimated_tokens
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge, JudgeWrapper
from judges.rubrics import Rubric

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT", LabelerAnswer, Comparison, Ranking)


@dataclass
class BudgetedJudge(JudgeWrapper):
    """A labeler with a token budget.

    Above `soft_tokens` it warns once. Items that would exceed `hard_tokens` are not asked about and
    are unscored with the reason `budget`. 0 sets no limit. A resumed stage goes on with what its
    judgments have `spent`; completions of a killed one are not known.
    """

    inner: Judge
    soft_tokens: int
    hard_tokens: int
    spent: int = 0
    _has_warned: bool = False

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        sizes = [len(s.prompt) + len(s.text) + len(s.reference) for s in subjects]
        return self._within(
            subjects,
            sizes,
            lambda affordable: self.inner.score(rubric, method, affordable),
            LabelerAnswer(None, "budget"),
        )

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        sizes = [2 * (len(p.prompt) + len(p.a) + len(p.b) + len(p.reference)) for p in pairs]
        return self._within(
            pairs,
            sizes,
            lambda affordable: self.inner.compare(rubric, method, affordable),
            Comparison(None, None, "budget"),
        )

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        sizes = [len(x.texts) * (len(x.prompt) + sum(map(len, x.texts))) for x in candidate_lists]
        return self._within(
            candidate_lists,
            sizes,
            lambda affordable: self.inner.rank(rubric, method, affordable),
            Ranking(None, "budget"),
        )

    @override
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        # A prompt that the budget does not allow gets an empty, unfinished text.
        number = self._num_affordable([len(p) + 3 * max_new_tokens for p in prompts])
        texts: list[CompletedText] = []
        if number:
            texts = self.inner.complete(prompts[:number], max_new_tokens, temperature, seed)
        num_prompt_tokens = sum(estimated_tokens(p) for p in prompts[:number])
        self._spend(num_prompt_tokens + sum(text.num_tokens for text in texts))
        return [*texts, *[CompletedText("", 0, finished=False)] * (len(prompts) - number)]

    def _within(
        self,
        items: Sequence[ItemT],
        sizes: Sequence[int],
        ask: Callable[[Sequence[ItemT]], list[ResultT]],
        unasked: ResultT,
    ) -> list[ResultT]:
        """Ask about the items that the budget allows; the others get `unasked`."""
        number = self._num_affordable(sizes)
        results: list[ResultT] = ask(items[:number]) if number else []
        self._spend(sum(result.num_tokens for result in results))
        return results + [unasked] * (len(items) - number)

    def _num_affordable(self, sizes: Sequence[int]) -> int:
        """Return how many of the items, with these sizes in characters, the hard limit allows."""
        if self.hard_tokens == 0:
            return len(sizes)
        left = self.hard_tokens - self.spent
        for number, size in enumerate(sizes):
            left -= size // 4
            if left < 0:
                return number
        return len(sizes)

    def _spend(self, tokens: int) -> None:
        self.spent += tokens
        if 0 < self.soft_tokens < self.spent and not self._has_warned:
            self._has_warned = True
            warn(
                f"labels have cost {self.spent:,} tokens,"
                f" more than judge.soft_tokens = {self.soft_tokens:,}"
            )
