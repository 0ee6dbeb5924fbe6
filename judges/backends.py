"""Labelers behind one protocol: a language model that runs here, and a scripted one with dials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.artifacts import folder_digest
from infra.language_model import CompletedText, ContinuationScore, LanguageModel
from infra.models import resolve_model
from infra.records import unit_hash
from judges.config import JudgeConfig, ScriptedConfig
from judges.rubrics import WAYS, Rubric
from judges.ways import Subject, requests_for, value_of


@dataclass(frozen=True)
class Answer:
    """What a labeler said of one subject: a value, or None with the reason why not."""

    value: float | None
    reason: str = ""
    num_tokens: int = 0


class Judge(Protocol):
    """Plug-in point: whoever labels."""

    @property
    def name(self) -> str:
        """Who it is, with a digest of its weights or dials; goes into every judgment."""
        ...

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways of asking that it knows."""
        ...

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """One answer a subject, in order."""
        ...

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """How it goes on with each prompt."""
        ...


class LocalJudge:
    """A transformers model in this process."""

    ways = WAYS

    def __init__(self, reference: str) -> None:
        folder = resolve_model(reference, "judge.model")
        self.model = LanguageModel(folder, "judge.model")
        self.name = f"{reference}@{folder_digest(folder)[:12]}"

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`. Untrusted text is neutralised before it enters a template."""
        clean = [
            Subject(s.subject_id, self.model.neutralise(s.prompt), self.model.neutralise(s.text)) for s in subjects
        ]
        requests = [requests_for(rubric, way, subject, self.model.chat_prompt) for subject in clean]
        flat = self.model.score([pair for pairs in requests for pair in pairs])
        answers, start = [], 0
        for subject, pairs in zip(clean, requests, strict=True):
            scores = flat[start : start + len(pairs)]
            start += len(pairs)
            answers.append(self._answer(way, subject, pairs, scores))
        return answers

    def _answer(
        self, way: str, subject: Subject, pairs: Sequence[tuple[str, str]], scores: Sequence[ContinuationScore]
    ) -> Answer:
        if not subject.text.strip():
            return Answer(None, "empty")
        value = value_of(way, scores)
        num_tokens = sum(s.num_tokens for s in scores) + sum(len(c) // 4 for c, _ in pairs)
        return Answer(value, "", num_tokens) if value == value else Answer(None, "not_finite", num_tokens)

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge`."""
        return self.model.complete([self.model.neutralise(p) for p in prompts], max_new_tokens, temperature, seed)


class ScriptedJudge:
    """Says the truth with a dialable probability, decided by a hash of the subject; needs no model.

    Where the truth is not known by construction it is a hash too, so that a dry run has labels to
    work with that mean nothing but are the same every time.
    """

    ways = ("scripted",)

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        self.name = f"scripted@{config.accuracy:g}/{config.length_bias:g}/{config.unscored_share:g}"

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:  # noqa: ARG002
        """See `Judge`."""
        return [self._one(rubric, subject) for subject in subjects]

    def _one(self, rubric: Rubric, subject: Subject) -> Answer:
        if unit_hash("answers", subject.subject_id) < self._config.unscored_share:
            return Answer(None, "refusal")
        truth = subject.truth if subject.truth is not None else round(unit_hash("truth", subject.subject_id))
        honest = unit_hash("honest", rubric.id, subject.subject_id) < self._config.accuracy
        spread = 0.4 * unit_hash("spread", subject.subject_id)
        value = (0.55 + spread) if bool(truth) == honest else (0.05 + spread)
        value += self._config.length_bias * len(subject.text) / 1000
        return Answer(min(max(value, 0.0), 1.0), "", len(subject.text) // 4)

    def complete(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,  # noqa: ARG002
        temperature: float,  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> list[CompletedText]:
        """See `Judge`: a question made of words near the prompt's end."""
        words = [text.split()[-6:-2] for text in prompts]
        return [CompletedText(f"What is meant by {' '.join(w)}?", len(w) + 4, True) for w in words]


def make_judge(config: JudgeConfig) -> Judge:
    """The labeler that a recipe names."""
    return ScriptedJudge(config.scripted) if config.kind == "scripted" else LocalJudge(config.model)
