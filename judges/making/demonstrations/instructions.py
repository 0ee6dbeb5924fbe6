"""Instructions by backtranslation: the labeler writes the question that a passage answers.

After Li et al. 2023 (arXiv:2308.06259), adapted to small models: the labeler continues few-shot
examples several times. Of the questions that share a word with the passage, the best-scored one is
kept if it scores higher than a question about another subject.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from infra.models.language_model import CompletedText
from infra.records import Sample
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.protocol import Judge
from judges.making.demonstrations.wordings import (
    DENSE,
    QUESTION_MARKS,
    all_wordings,
    question_words,
    wording,
)
from judges.rubrics import Rubric

TRIES_PER_PASSAGE = 4
QUESTION_TEMPERATURE = 0.8
QUESTION_TOKENS = 32
SHOWN_CHARS = 400
MIN_QUESTION, MAX_QUESTION = 10, 200
"""Lengths of a question in letters; one of a script without spaces counts as three."""
_WORD = re.compile(rf"[^\W\d{DENSE}]{{5,}}")
_DENSE_PAIR = re.compile(rf"(?=([{DENSE}]{{2}}))")
_DENSE_LETTER = re.compile(rf"[{DENSE}]")


@dataclass(frozen=True)
class WrittenQuestion:
    """The best question for a passage ("" if there is none), its score, and whether it fits."""

    passage: Sample
    question: str
    answer: LabelerAnswer
    fits: bool


def instruction_request(text: str) -> str:
    """Return the few-shot prompt that asks for a question, in the language of the text."""
    own = wording(text)
    shown = "".join(
        f"{own.text}: {example}\n{own.question}: {question}\n\n"
        for example, question in own.questions
    )
    return f"{shown}{own.text}: {' '.join(text.split())[:SHOWN_CHARS]}\n{own.question}:"


def read_question(completed: CompletedText, text: str) -> str | None:
    """Return the first line if it is a question that shares a longer word with the passage and is
    not an example, else None.

    In scripts without spaces two letters in a row count as a word.
    """
    line = completed.text.strip().split("\n")[0].strip()
    length = len(line) + 2 * len(_DENSE_LETTER.findall(line))
    examples = (own.questions for own in all_wordings().values())
    copied = any(line == question for questions in examples for _, question in questions)
    is_question = line.endswith(QUESTION_MARKS) and MIN_QUESTION <= length <= MAX_QUESTION
    return line if is_question and not copied and _topics(line) & _topics(text) else None


def _topics(text: str) -> set[str]:
    """The words by which a question and a passage may be about the same."""
    words = {word.casefold() for word in _WORD.findall(text)} - question_words()
    return words | set(_DENSE_PAIR.findall(text))


def write_questions(
    judge: Judge, rubric: Rubric, method: str, passages: Sequence[Sample], seed: int
) -> list[WrittenQuestion]:
    """Return for each passage the best of several questions."""
    repeated = [p for p in passages for _ in range(TRIES_PER_PASSAGE)]
    texts = judge.complete(
        [instruction_request(p.completion) for p in repeated],
        QUESTION_TOKENS,
        QUESTION_TEMPERATURE,
        seed,
    )
    candidates: dict[str, list[str]] = {p.sample_id: [] for p in passages}
    for passage, completed in zip(repeated, texts, strict=True):
        question = read_question(completed, passage.completion)
        if question is not None and question not in candidates[passage.sample_id]:
            candidates[passage.sample_id].append(question)
    return [
        _best(judge, rubric, method, passage, candidates[passage.sample_id]) for passage in passages
    ]


def _best(
    judge: Judge, rubric: Rubric, method: str, passage: Sample, questions: Sequence[str]
) -> WrittenQuestion:
    if not questions:
        return WrittenQuestion(passage, "", LabelerAnswer(None, "parse"), fits=False)
    # The last question is about another subject and is the baseline.
    subjects = [
        Subject(f"{passage.sample_id}/{question}", question, passage.completion)
        for question in [*questions, wording(passage.completion).questions[0][1]]
    ]
    *answers, baseline = judge.score(rubric, method, subjects)
    scored = [
        (a.value, q, a) for q, a in zip(questions, answers, strict=True) if a.value is not None
    ]
    if not scored or baseline.value is None:
        unscored = LabelerAnswer(None, "off_menu")
        return WrittenQuestion(passage, questions[0], unscored, fits=False)
    value, question, answer = max(scored, key=lambda item: item[0])
    return WrittenQuestion(passage, question, answer, fits=value > baseline.value)
