"""Instructions by backtranslation: the labeler writes the question that a passage answers.

After Li et al. 2023 (arXiv:2308.06259), narrowed to what a small model can do: it continues a few
examples several times, and of the questions that share a word with the passage the one is kept
under which the passage is likeliest, if it beats a question on another subject.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from infra.models.language_model import CompletedText
from infra.records import Sample
from judges.judgment.answers import Answer
from judges.judgment.elicitation import Subject
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric

EXAMPLES = (
    (
        "The Moon gives no light of its own; half of it is always lit by the Sun. As it travels around the Earth "
        "we see more or less of that lit half.",
        "Why does the Moon show phases?",
    ),
    (
        "A refrigerator moves heat instead of making cold. A fluid evaporates in pipes inside the box and takes up "
        "heat as it does so.",
        "How does a refrigerator make things cold?",
    ),
)
TRIES = 4
TEMPERATURE = 0.8
QUESTION_TOKENS = 32
SHOWN_CHARS = 400
_WORD = re.compile(r"[A-Za-z_]{5,}")


@dataclass(frozen=True)
class Written:
    """The best question written for a passage ("" where there is none), its value, and whether it
    fits.
    """

    passage: Sample
    question: str
    answer: Answer
    fits: bool


def question_request(text: str) -> str:
    """What the labeler is given to go on with."""
    shown = "".join(f"Text: {example}\nQuestion: {question}\n\n" for example, question in EXAMPLES)
    return f"{shown}Text: {' '.join(text.split())[:SHOWN_CHARS]}\nQuestion:"


def read_question(completed: CompletedText, text: str) -> str | None:
    """The first line, if it is a question of its own that shares a longer word with the passage."""
    line = completed.text.strip().split("\n")[0].strip()
    copied = any(line == question for _, question in EXAMPLES)
    if copied or not line.endswith("?") or not 10 <= len(line) <= 200:
        return None
    shared = {w.lower() for w in _WORD.findall(line)} & {w.lower() for w in _WORD.findall(text)}
    return line if shared - {"which", "where", "there", "these", "those", "about"} else None


def write_questions(
    judge: Judge, rubric: Rubric, way: str, passages: Sequence[Sample], seed: int
) -> list[Written]:
    """For each passage the question that fits it best among several tries."""
    repeated = [p for p in passages for _ in range(TRIES)]
    texts = judge.complete(
        [question_request(p.completion) for p in repeated], QUESTION_TOKENS, TEMPERATURE, seed
    )
    candidates: dict[str, list[str]] = {p.sample_id: [] for p in passages}
    for passage, completed in zip(repeated, texts, strict=True):
        question = read_question(completed, passage.completion)
        if question is not None and question not in candidates[passage.sample_id]:
            candidates[passage.sample_id].append(question)
    return [
        _best(judge, rubric, way, passage, candidates[passage.sample_id]) for passage in passages
    ]


def _best(
    judge: Judge, rubric: Rubric, way: str, passage: Sample, questions: Sequence[str]
) -> Written:
    if not questions:
        return Written(passage, "", Answer(None, "parse"), fits=False)
    asked = [*questions, EXAMPLES[0][1]]
    subjects = [
        Subject(f"{passage.sample_id}/{question}", question, passage.completion)
        for question in asked
    ]
    *answers, baseline = judge.score(rubric, way, subjects)
    scored = [
        (a.value, q, a) for q, a in zip(questions, answers, strict=True) if a.value is not None
    ]
    if not scored or baseline.value is None:
        return Written(passage, questions[0], Answer(None, "off_menu"), fits=False)
    value, question, answer = max(scored, key=lambda item: item[0])
    return Written(passage, question, answer, fits=value > baseline.value)
