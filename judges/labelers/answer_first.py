"""A labeler that first writes its own answer to a prompt and then uses it as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from typing_extensions import override

from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge, JudgeWrapper
from judges.rubrics import Rubric

OWN_ANSWER_TOKENS = 128


@dataclass
class AnswerFirstJudge(JudgeWrapper):
    """A labeler that judges answers beside its own one.

    Only for rubrics about answers, and only for items that have no reference yet.
    """

    inner: Judge
    seed: int = 0
    _own_answers: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The inner labeler's name with a suffix, because the two are measured separately."""
        return f"{self.inner.name}+answers"

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        references = self._references(rubric, [(s.prompt, s.reference) for s in subjects])
        completed = [replace(s, reference=r) for s, r in zip(subjects, references, strict=True)]
        return self.inner.score(rubric, method, completed)

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        references = self._references(rubric, [(p.prompt, p.reference) for p in pairs])
        completed = [replace(p, reference=r) for p, r in zip(pairs, references, strict=True)]
        return self.inner.compare(rubric, method, completed)

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        references = self._references(rubric, [(x.prompt, x.reference) for x in candidate_lists])
        completed = [
            replace(x, reference=r) for x, r in zip(candidate_lists, references, strict=True)
        ]
        return self.inner.rank(rubric, method, completed)

    def _references(self, rubric: Rubric, items: Sequence[tuple[str, str]]) -> list[str]:
        """Return for each (prompt, reference) its reference or, if it is empty, the own answer."""
        if rubric.subject != "answer" or rubric.needs_reference:
            return [reference for _, reference in items]
        open_prompts = dict.fromkeys(p for p, reference in items if p and not reference)
        missing = [prompt for prompt in open_prompts if prompt not in self._own_answers]
        if missing:
            requests = [f"Question: {prompt}\n\nAnswer:" for prompt in missing]
            texts = self.inner.complete(requests, OWN_ANSWER_TOKENS, 0.0, self.seed)
            answers = [text.text.strip() for text in texts]
            self._own_answers |= dict(zip(missing, answers, strict=True))
        return [reference or self._own_answers.get(prompt, "") for prompt, reference in items]
