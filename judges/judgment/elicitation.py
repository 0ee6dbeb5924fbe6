"""Ways of asking a language model for a value without an instruction, by probabilities and never by
parsing prose.

Which way works depends on the model, so all are measured (judges/measuring/calibration.py). Every
way is a list of (context, continuation) requests and a function from their scores to a value in [0,
1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from judges.judgment.answers import sigmoid
from judges.rubrics import Contrast, LabelQuestion, Likelihood, Rubric, fill

if TYPE_CHECKING:
    from infra.models.language_model import ContinuationScore


@dataclass(frozen=True)
class Subject:
    """What is judged: a text, for an answer also the prompt that it answers.

    `truth` is 1 or 0 where it is known by construction (probes). Only the scripted labeler looks at
    it.
    """

    subject_id: str
    prompt: str
    text: str
    truth: float | None = None
    reference: str = ""


Request = tuple[str, str]


def requests_for(rubric: Rubric, way: str, subject: Subject) -> list[Request]:
    """What to score for one of the ways in which a text is continued or continues, and no
    instruction is given.
    """
    words = getattr(rubric, way)
    parts = {"prompt": subject.prompt, "reference": subject.reference}
    if isinstance(words, LabelQuestion):
        context = fill(words.template.strip("\n"), text=subject.text, **parts)
        return [(context, words.positive), (context, words.negative)]
    if isinstance(words, Likelihood):
        return [(fill(words.context, **parts), subject.text)]
    assert isinstance(words, Contrast), f"{rubric.id} has no words for {way}"
    return [(fill(context, **parts), subject.text) for context in (words.positive, words.negative)]


def evidence_of(way: str, scores: Sequence[ContinuationScore]) -> float:
    """What the scores of `requests_for` say in nats: log-odds of a label, or a log-probability a
    token.
    """
    if way == "likelihood":
        return scores[0].mean_logp
    if way == "text_given_label":
        return scores[0].mean_logp - scores[1].mean_logp
    return scores[0].logp - scores[1].logp


def value_of(way: str, scores: Sequence[ContinuationScore]) -> float:
    """The value in [0, 1] that the scores of `requests_for` stand for."""
    evidence = evidence_of(way, scores)
    return math.exp(evidence) if way == "likelihood" else sigmoid(evidence)
