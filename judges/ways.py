"""Ways of asking a language model for a value, each by probabilities and never by parsing prose.

Which way works depends on the model, so all are measured (judges/calibration.py). Every way is a
list of (context, continuation) requests and a function from their scores to a value in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from judges.pairs import Pair
from judges.rubrics import LabelQuestion, Rubric, fill

if TYPE_CHECKING:
    from infra.language_model import ContinuationScore


@dataclass(frozen=True)
class Subject:
    """What is judged: a text, for an answer also the prompt that it answers.

    `truth` is 1 or 0 where it is known by construction (probes). Only the scripted labeler looks at it.
    """

    subject_id: str
    prompt: str
    text: str
    truth: float | None = None


Request = tuple[str, str]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _label_requests(question: LabelQuestion, subject: Subject, frame: Callable[[str], str]) -> list[Request]:
    context = frame(fill(question.template.strip("\n"), subject.prompt, subject.text))
    return [(context, question.positive), (context, question.negative)]


def requests_for(rubric: Rubric, way: str, subject: Subject, chat: Callable[[str], str]) -> list[Request]:
    """What to score. `chat` wraps an instruction in the model's chat template."""
    if way == "label_given_text":
        return _label_requests(rubric.label_given_text, subject, chat)
    if way == "few_shot":
        return _label_requests(rubric.few_shot, subject, lambda text: text)
    if way == "likelihood":
        return [(fill(rubric.likelihood.context, subject.prompt, ""), subject.text)]
    assert way == "text_given_label", way
    contrast = rubric.text_given_label
    contexts = (fill(contrast.positive, subject.prompt, ""), fill(contrast.negative, subject.prompt, ""))
    return [(context, subject.text) for context in contexts]


def evidence_of(way: str, scores: Sequence[ContinuationScore]) -> float:
    """What the scores of `requests_for` say in nats: log-odds of a label, or a log-probability a token."""
    if way == "likelihood":
        return scores[0].mean_logp
    if way == "text_given_label":
        return scores[0].mean_logp - scores[1].mean_logp
    return scores[0].logp - scores[1].logp


def value_of(way: str, scores: Sequence[ContinuationScore]) -> float:
    """The value in [0, 1] that the scores of `requests_for` stand for."""
    evidence = evidence_of(way, scores)
    return math.exp(evidence) if way == "likelihood" else _sigmoid(evidence)


def choice_requests(question: LabelQuestion, pair: Pair, chat: Callable[[str], str]) -> list[Request]:
    """What to score to compare a pair in the order given: the label of the first side, and of the second."""
    context = chat(fill(question.template.strip("\n"), pair.prompt, pair.a, pair.b))
    return [(context, question.positive), (context, question.negative)]
