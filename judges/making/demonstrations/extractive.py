"""Questions whose answers stand in the text: the labeler asks, answers, and has to find the same
words again.

A span of the passage is chosen first (a number, a name, a term in code), then the labeler writes
the question that it answers. The question is kept when the labeler, given passage and question
alone, answers with the same span: round-trip consistency (Alberti et al. 2019, arXiv:1906.05416).
What is kept is checked, not judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from infra.models.language_model import CompletedText
from infra.records import Sample, content_key, unit_hash
from judges.judgment.protocol import Judge
from judges.making.demonstrations.instructions import (
    QUESTION_TOKENS,
    SHOWN_CHARS,
    TEMPERATURE,
    read_question,
)
from judges.verifying.checks import is_quote_of, normalised_answer

SPANS = 2
"""Spans of a passage that questions are written for."""
ANSWER_TOKENS = 12
_EXAMPLES = (
    (
        "The tower was finished in 1889 and is 330 metres tall.",
        "330 metres",
        "How tall is the tower?",
    ),
    (
        "The function len returns the number of items of a container.",
        "len",
        "Which function returns the number of items of a container?",
    ),
    (
        "Ships of the line were built in Toulon until the canal was opened.",
        "Toulon",
        "Where were ships of the line built?",
    ),
)
_NO_UNIT = "and|the|with|from|for|but|are|was|were|has|had|that|this|when|then"
_SPAN = re.compile(
    rf"\b\d[\d.,]*(?:\s?%|\s(?!(?:{_NO_UNIT})\b)[a-z]{{3,12}}\b)?"  # a number, with its unit
    r"|(?<=[a-z,;] )[A-Z][a-z]+(?: [A-Z][a-z]+)*"  # a name within a sentence
    r"|\b[a-z]+(?:_[a-z]+)+\b|\b[a-z]+\(\)"  # a name in code
)


@dataclass(frozen=True)
class Span:
    """An answer as it stands in a passage, from `start` on."""

    text: str
    start: int


def find_spans(passage: str) -> list[Span]:
    """Spans of a passage that could be answers, each text once."""
    found: dict[str, Span] = {}
    for match in _SPAN.finditer(passage[:SHOWN_CHARS]):
        text = match.group().strip(" .,")
        if len(text) > 1:
            found.setdefault(text, Span(text, match.start()))
    return list(found.values())


def _shown(passage: str) -> str:
    return " ".join(passage.split())[:SHOWN_CHARS]


def question_request(passage: str, answer: str) -> str:
    """What the labeler is given to go on with, to ask for an answer."""
    shown = "".join(f"Text: {t}\nAnswer: {a}\nQuestion: {q}\n\n" for t, a, q in _EXAMPLES)
    return f"{shown}Text: {_shown(passage)}\nAnswer: {answer}\nQuestion:"


def answer_request(passage: str, question: str) -> str:
    """What the labeler is given to go on with, to answer."""
    shown = "".join(f"Text: {t}\nQuestion: {q}\nAnswer: {a}\n\n" for t, a, q in _EXAMPLES)
    return f"{shown}Text: {_shown(passage)}\nQuestion: {question}\nAnswer:"


def read_asked(completed: CompletedText, passage: str, span: Span) -> str | None:
    """The question, if it is one of its own and does not give the answer away."""
    question = read_question(completed, passage)
    copied = question in [q for _, _, q in _EXAMPLES]
    if question is None or copied or normalised_answer(span.text) in normalised_answer(question):
        return None
    return question


def is_found_again(completed: CompletedText, span: Span) -> bool:
    """Whether the labeler's answer is the span that it asked for."""
    line = completed.text.strip().split("\n")[0]
    return normalised_answer(line) == normalised_answer(span.text)


def write_extractive(
    judge: Judge, passages: Sequence[Sample], seed: int, generation: int
) -> list[Sample]:
    """Demonstrations of questions on passages, each answered by words of its own passage."""
    chosen = [(passage, span) for passage in passages for span in _chosen_spans(passage, seed)]
    requests = [question_request(p.completion, s.text) for p, s in chosen]
    written = judge.complete(requests, QUESTION_TOKENS, TEMPERATURE, seed)
    asked = [
        (passage, span, question)
        for (passage, span), text in zip(chosen, written, strict=True)
        if (question := read_asked(text, passage.completion, span)) is not None
    ]
    answers = judge.complete(
        [answer_request(p.completion, q) for p, _, q in asked], ANSWER_TOKENS, 0.0, seed
    )
    return [
        _sample(passage, span, question, generation)
        for (passage, span, question), answer in zip(asked, answers, strict=True)
        if is_found_again(answer, span) and is_quote_of(span.text, passage.completion)
    ]


def _chosen_spans(passage: Sample, seed: int) -> list[Span]:
    found = find_spans(passage.completion)
    return sorted(found, key=lambda span: unit_hash(seed, passage.sample_id, span.text))[:SPANS]


def _sample(passage: Sample, span: Span, question: str, generation: int) -> Sample:
    start = passage.source_start + span.start
    return Sample(
        sample_id=content_key(passage.sample_id, "extractive", question, span.text),
        document_id=passage.document_id,
        kind="demonstration",
        prompt=f"{passage.completion.strip()}\n\n{question}",
        completion=span.text,
        origin="model",
        generation=generation,
        source_start=start,
        source_end=start + len(span.text),
        check="quote",
    )
