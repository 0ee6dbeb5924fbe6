"""A labeler that answers first and compares afterwards: its own answer is shown to it as a
reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from judges.judgment.answers import Answer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import AroundJudge, Judge
from judges.rubrics import Rubric

ANSWER_TOKENS = 128


@dataclass
class AnswersFirst(AroundJudge):
    """See `judges.judgment.protocol.Judge`. Only for rubrics about answers, and only where no
    reference is given already.
    """

    inner: Judge
    seed: int = 0
    _own: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The labeler's, marked, because it is measured apart from the one that does not answer."""
        return f"{self.inner.name}+answers"

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`."""
        own = self._answers(rubric, [(s.prompt, s.reference) for s in subjects])
        changed = [replace(s, reference=o) for s, o in zip(subjects, own, strict=True)]
        return self.inner.score(rubric, way, changed)

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`."""
        own = self._answers(rubric, [(p.prompt, p.reference) for p in pairs])
        return self.inner.compare(
            rubric, way, [replace(p, reference=o) for p, o in zip(pairs, own, strict=True)]
        )

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge`."""
        own = self._answers(rubric, [(x.prompt, x.reference) for x in listings])
        changed = [replace(x, reference=o) for x, o in zip(listings, own, strict=True)]
        return self.inner.rank(rubric, way, changed)

    def _answers(self, rubric: Rubric, asked: Sequence[tuple[str, str]]) -> list[str]:
        """The reference given, or the labeler's own answer; each prompt is answered once."""
        if rubric.subject != "answer" or rubric.needs_reference:
            return [reference for _, reference in asked]
        missing = [
            p
            for p in dict.fromkeys(p for p, given in asked if p and not given)
            if p not in self._own
        ]
        requests = [f"Question: {prompt}\n\nAnswer:" for prompt in missing]
        texts = self.inner.complete(requests, ANSWER_TOKENS, 0.0, self.seed) if missing else []
        self._own |= {
            prompt: text.text.strip() for prompt, text in zip(missing, texts, strict=True)
        }
        return [given or self._own.get(prompt, "") for prompt, given in asked]
