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
from judges.rubrics import Rubric

QUESTION_EXAMPLES = (
    (
        "The Moon gives no light of its own; half of it is always lit by the Sun."
        " As it travels around the Earth we see more or less of that lit half.",
        "Why does the Moon show phases?",
    ),
    (
        "A refrigerator moves heat instead of making cold."
        " A fluid evaporates in pipes inside the box and takes up heat as it does so.",
        "How does a refrigerator make things cold?",
    ),
)
TRIES_PER_PASSAGE = 4
QUESTION_TEMPERATURE = 0.8
QUESTION_TOKENS = 32
SHOWN_CHARS = 400
_WORD = re.compile(r"[A-Za-z_]{5,}")


@dataclass(frozen=True)
class WrittenQuestion:
    """The best question for a passage ("" if there is none), its score, and whether it fits."""

    passage: Sample
    question: str
    answer: LabelerAnswer
    fits: bool


def instruction_request(text: str) -> str:
    """Return the few-shot prompt that asks for a question."""
    shown = "".join(
        f"Text: {example}\nQuestion: {question}\n\n" for example, question in QUESTION_EXAMPLES
    )
    return f"{shown}Text: {' '.join(text.split())[:SHOWN_CHARS]}\nQuestion:"


def read_question(completed: CompletedText, text: str) -> str | None:
    """Return the first line if it is a question that shares a longer word with the passage and is
    not an example, else None.
    """
    line = completed.text.strip().split("\n")[0].strip()
    copied = any(line == question for _, question in QUESTION_EXAMPLES)
    if copied or not line.endswith("?") or not 10 <= len(line) <= 200:
        return None
    shared = {w.lower() for w in _WORD.findall(line)} & {w.lower() for w in _WORD.findall(text)}
    return line if shared - {"which", "where", "there", "these", "those", "about"} else None


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
        for question in [*questions, QUESTION_EXAMPLES[0][1]]
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
