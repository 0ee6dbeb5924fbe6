"""Elicitation methods that read a value from log-probabilities, without an instruction to the
model.

Which method works best depends on the model, so all are measured (`judges/measuring/admission.py`).
Each method is a list of (context, continuation) requests and a function from their scores to a
value in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.models.text_size import compressed_size
from judges.judgment.answers import sigmoid
from judges.rubrics import Contrast, LabelQuestion, Likelihood, Rubric, fill

if TYPE_CHECKING:
    from infra.models.language_model import ContinuationScore


EMPTY_BYTES = compressed_size("")


@dataclass(frozen=True)
class Subject:
    """One item to be valued alone: a text, and for an answer also the prompt.

    `truth` is 1 or 0 for probe items, whose value is known by construction; only the scripted
    labeler reads it.
    """

    subject_id: str
    prompt: str
    text: str
    truth: float | None = None
    reference: str = ""


ScoreRequest = tuple[str, str]


def requests_for(rubric: Rubric, method: str, subject: Subject) -> list[ScoreRequest]:
    """Return the (context, continuation) pairs that a method has to score for one subject.

    Among examples, each text is one line: with lines of its own it could bring the label that it
    wants, and another text for the question. Marks around the texts help less, and cost accuracy
    (LOG.md).
    """
    words = getattr(rubric, method)
    parts = {"prompt": subject.prompt, "reference": subject.reference}
    if isinstance(words, LabelQuestion):
        lines = {name: " ".join(part.split()) for name, part in parts.items()}
        text = " ".join(subject.text.split())
        context = fill(words.template.strip("\n"), text=text, **lines)
        return [(context, words.positive), (context, words.negative)]
    if isinstance(words, Likelihood):
        return [(fill(words.context, **parts), subject.text)]
    assert isinstance(words, Contrast), f"{rubric.id} has no words for {method}"
    return [(fill(context, **parts), subject.text) for context in (words.positive, words.negative)]


def log_score(method: str, text: str, scores: Sequence[ContinuationScore]) -> float:
    """Return the result of a method in nats: log-odds of a label, or the log-probability per
    compressed byte of the text.

    `scores` are the scores of `requests_for`, in the same order. Per token, a text becomes likelier
    with every repetition of what it has said, since a model foresees it. So does a compressor, and
    what it foresees does not count (models and gzip as compressors: Delétang et al. 2023,
    arXiv:2309.10668).
    """
    if method == "likelihood":
        return scores[0].logp / compressed_bytes(text)
    if method == "text_given_label":
        return scores[0].mean_logp - scores[1].mean_logp
    return scores[0].logp - scores[1].logp


def compressed_bytes(text: str) -> int:
    """Return the bytes of a text that a compressor cannot foresee, at least 1."""
    return max(1, compressed_size(text) - EMPTY_BYTES)


def score_value(method: str, text: str, scores: Sequence[ContinuationScore]) -> float:
    """Return the value in [0, 1] of a text for the scores of `requests_for`."""
    score = log_score(method, text, scores)
    return math.exp(score) if method == "likelihood" else sigmoid(score)
