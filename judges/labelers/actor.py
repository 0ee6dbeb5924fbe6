"""Labelers, verifier and champion as Ray actors.

They load their model at the first call and not when they are made: an error in an actor's
constructor comes back without its type.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import ray

from infra.models.language_model import CompletedText, LanguageModel
from infra.records import Document
from judges.config import JudgeConfig
from judges.judgment.answers import Answer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge
from judges.labelers.backends import make_judge
from judges.rubrics import Rubric
from judges.verifying.checks import Claim, verify_claims
from judges.verifying.sandbox import Sandbox
from judges.verifying.verifier import VerifiedDocument, verify_document


def _use_threads(num_threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    importlib.import_module("torch").set_num_threads(num_threads)


class JudgeWorker:
    """A labeler in a process of its own."""

    def __init__(self, config: JudgeConfig, seed: int, num_threads: int) -> None:
        _use_threads(num_threads)
        self._config = config
        self._seed = seed

    @cached_property
    def _judge(self) -> Judge:
        return make_judge(self._config, self._seed)

    def describe(self) -> tuple[str, tuple[str, ...], bool]:
        """(name, ways, values_sides) of the labeler."""
        return self._judge.name, self._judge.ways, self._judge.values_sides

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge.score`."""
        return self._judge.score(rubric, way, subjects)

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge.compare`."""
        return self._judge.compare(rubric, way, pairs)

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge.rank`."""
        return self._judge.rank(rubric, way, listings)

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge.complete`."""
        return self._judge.complete(prompts, max_new_tokens, temperature, seed)


class RemoteJudge(Judge):
    """Several `JudgeWorker` actors as one labeler: each scores a part of every batch."""

    name = ""
    ways: tuple[str, ...] = ()
    values_sides = False

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)
        self.name, self.ways, self.values_sides = ray.get(self._actors[0].describe.remote())

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge.score`."""
        return self._spread("score", rubric, way, subjects)

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge.compare`."""
        return self._spread("compare", rubric, way, pairs)

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge.rank`."""
        return self._spread("rank", rubric, way, listings)

    def _spread(self, method: str, rubric: Rubric, way: str, items: Sequence[Any]) -> list[Any]:
        """Call a method of every actor with its part of the items; the results in the items' order."""
        count = len(self._actors)
        parts = [list(items)[i::count] for i in range(count)]
        refs = [
            getattr(a, method).remote(rubric, way, p)
            for a, p in zip(self._actors, parts, strict=True)
            if p
        ]
        results: list[Any] = [None] * len(items)
        for i, part in enumerate(ray.get(refs)):
            results[i::count] = part
        return results

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge.complete`."""
        answer = self._actors[0].complete.remote(prompts, max_new_tokens, temperature, seed)
        result: list[CompletedText] = ray.get(answer)
        return result


class VerifierWorker:
    """The sandbox in a process of its own."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        """See `judges.making.context.Verifier`."""
        return [verify_document(document, generation, self._sandbox) for document in documents]

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        """See `judges.making.context.Verifier`."""
        return verify_claims(claims, self._sandbox)


class ChampionWorker:
    """A model that completes prompts, reads texts and turns them into vectors."""

    def __init__(self, folder: str, num_threads: int) -> None:
        _use_threads(num_threads)
        self._folder = Path(folder)

    @cached_property
    def _model(self) -> LanguageModel:
        return LanguageModel(self._folder)

    def complete(
        self, instructions: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `judges.making.context.Champion`."""
        prompts = [self._model.chat_prompt(self._model.neutralise(text)) for text in instructions]
        return self._model.complete(prompts, max_new_tokens, temperature, seed)

    def surprise(self, texts: Sequence[str]) -> list[float]:
        """See `judges.making.context.Champion`."""
        return self._model.bits_per_byte([self._model.neutralise(text) for text in texts])

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `judges.making.context.Encoder`."""
        return self._model.embed([self._model.neutralise(text) for text in texts])
