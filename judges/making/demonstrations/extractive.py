"""Questions whose answers are words of the passage, kept if the labeler answers with the same
words.

First a span of the passage is chosen (a number, a name, or a term in code), then the labeler writes
a question for it. The question is kept if the labeler, given passage and question, answers with the
same span (round-trip consistency; Alberti et al. 2019, arXiv:1906.05416). The answer is checked and
not judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from infra.models.language_model import CompletedText
from infra.records import Sample, content_key, unit_hash
from judges.judgment.protocol import Judge
from judges.making.demonstrations.instructions import (
    QUESTION_TEMPERATURE,
    QUESTION_TOKENS,
    SHOWN_CHARS,
    read_question,
)
from judges.making.demonstrations.wordings import DENSE, all_wordings, wording
from judges.verifying.checks import is_quoted_in, normalised_answer

SPANS_PER_PASSAGE = 2
SPAN_ANSWER_TOKENS = 12
QUESTION_MARGIN = "\n\n"
"""What stands between a passage and a question about it."""
_NO_UNIT = "and|the|with|from|for|but|are|was|were|has|had|that|this|when|then|und|der|die|das|ist"
_LATIN = "A-Za-z\\u00c0-\\u024f"
_SPAN = re.compile(
    rf"(?<![\d.,{_LATIN}])\d[\d.,]*"  # a number, with its unit
    rf"(?:\s?%|\s?[{DENSE}]{{1,2}}|\s(?!(?:{_NO_UNIT})\b)[{_LATIN}]{{3,12}}\b)?"
    r"|[一二三四五六七八九十百千万亿两]{1,8}[年月日个米公里人次倍元度岁]"
    r"|(?<=[「『《“])[^「『《“」』》”\n]{2,20}(?=[」』》”])"  # a title, or what is quoted
    r"|(?<=[a-zäöüß,;] )[A-ZÄÖÜ][a-zäöüß]+(?: [A-ZÄÖÜ][a-zäöüß]+)*"  # a name within a sentence
    r"|\b[a-z]+(?:_[a-z]+)+\b|\b[a-z]+\(\)"  # a name in code
    rf"|(?<=[{DENSE}])[A-Za-z][A-Za-z0-9_-]+(?=[{DENSE}])"  # a term among other letters
)


@dataclass(frozen=True)
class Span:
    """An answer as it occurs in a passage, from `start` on."""

    text: str
    start: int


def find_spans(passage: str) -> list[Span]:
    """Return spans of a passage that could be answers, each text once."""
    spans: dict[str, Span] = {}
    for match in _SPAN.finditer(passage[:SHOWN_CHARS]):
        text = match.group().strip(" .,")
        if len(text) > 1:
            spans.setdefault(text, Span(text, match.start()))
    return list(spans.values())


def _shown(passage: str) -> str:
    return " ".join(passage.split())[:SHOWN_CHARS]


def span_question_request(passage: str, answer: str) -> str:
    """Return the few-shot prompt that asks for a question with this answer."""
    own = wording(passage)
    examples = [*own.spans, (_shown(passage), answer, "")]
    shown = (f"{own.text}: {t}\n{own.answer}: {a}\n{own.question}: {q}" for t, a, q in examples)
    return "\n\n".join(shown).rstrip()


def answer_request(passage: str, question: str) -> str:
    """Return the few-shot prompt that asks for the answer."""
    own = wording(passage)
    examples = [*own.spans, (_shown(passage), "", question)]
    shown = (f"{own.text}: {t}\n{own.question}: {q}\n{own.answer}: {a}" for t, a, q in examples)
    return "\n\n".join(shown).rstrip()


def read_span_question(completed: CompletedText, passage: str, span: Span) -> str | None:
    """Return the question, or None if it is not valid, is copied from an example, or contains the
    answer.
    """
    question = read_question(completed, passage)
    copied = question in [q for own in all_wordings().values() for _, _, q in own.spans]
    if question is None or copied or normalised_answer(span.text) in normalised_answer(question):
        return None
    return question


def is_found_again(completed: CompletedText, span: Span) -> bool:
    """Whether the labeler's answer is the span that the question was written for."""
    line = completed.text.strip().split("\n")[0]
    return normalised_answer(line) == normalised_answer(span.text)


def write_extractive(
    judge: Judge, passages: Sequence[Sample], seed: int, generation: int
) -> list[Sample]:
    """Return demonstrations: questions about passages, each answered by words of its passage."""
    chosen = [(passage, span) for passage in passages for span in _chosen_spans(passage, seed)]
    requests = [span_question_request(p.completion, s.text) for p, s in chosen]
    written = judge.complete(requests, QUESTION_TOKENS, QUESTION_TEMPERATURE, seed)
    asked = [
        (passage, span, question)
        for (passage, span), text in zip(chosen, written, strict=True)
        if (question := read_span_question(text, passage.completion, span)) is not None
    ]
    answers = judge.complete(
        [answer_request(p.completion, q) for p, _, q in asked], SPAN_ANSWER_TOKENS, 0.0, seed
    )
    return [
        _sample(passage, span, question, generation)
        for (passage, span, question), answer in zip(asked, answers, strict=True)
        if is_found_again(answer, span) and is_quoted_in(span.text, passage.completion)
    ]


def _chosen_spans(passage: Sample, seed: int) -> list[Span]:
    spans = find_spans(passage.completion)
    spans.sort(key=lambda span: unit_hash(seed, passage.sample_id, span.text))
    return spans[:SPANS_PER_PASSAGE]


def _sample(passage: Sample, span: Span, question: str, generation: int) -> Sample:
    start = passage.source_start + span.start
    return Sample(
        sample_id=content_key(passage.sample_id, "extractive", question, span.text),
        document_id=passage.document_id,
        kind="demonstration",
        prompt=f"{passage.completion.strip()}{QUESTION_MARGIN}{question}",
        completion=span.text,
        origin="model",
        generation=generation,
        source_start=start,
        source_end=start + len(span.text),
        check="quote",
    )
