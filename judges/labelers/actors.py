"""Labelers, verifier and champion as Ray actors.

They load their model at the first call, not in the constructor: Ray reports an error in an actor's
constructor without its type.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from typing_extensions import override

from infra.models.language_model import CompletedText, LanguageModel
from infra.records import Document, Sample
from judges.config import JudgeConfig
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList, Ranking
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
    """A labeler in its own process."""

    def __init__(
        self, config: JudgeConfig, seed: int, num_threads: int, spent: float = 0.0
    ) -> None:
        _use_threads(num_threads)
        self._config = config
        self._seed = seed
        self._spent = spent

    @cached_property
    def _judge(self) -> Judge:
        return make_judge(self._config, self._seed, self._spent)

    def cost(self) -> float:
        """Return what the run has paid for the labeler."""
        return self._judge.cost if "_judge" in vars(self) else self._spent

    def describe(self) -> tuple[str, tuple[str, ...], bool]:
        """Return (name, methods, values_sides) of the labeler."""
        return self._judge.name, self._judge.methods, self._judge.values_sides

    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        """Return one answer per subject, in order."""
        return self._judge.score(rubric, method, subjects)

    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """Return one comparison per pair, in order."""
        return self._judge.compare(rubric, method, pairs)

    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        """Return one ranking per list, in order."""
        return self._judge.rank(rubric, method, candidate_lists)

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """Return one completion per prompt, in order."""
        return self._judge.complete(prompts, max_new_tokens, temperature, seed)


class RemoteJudge(Judge):
    """Several `JudgeWorker` actors as one labeler. Each batch is split among them.

    `pay` gets what each call has cost, beyond `spent`. A labeler that costs anything has one actor.
    """

    name = ""
    methods: tuple[str, ...] = ()
    values_sides = False

    def __init__(
        self,
        actors: Sequence[Any],
        spent: float = 0.0,
        pay: Callable[[float], None] | None = None,
    ) -> None:
        self._actors, self._spent, self._pay = list(actors), spent, pay
        with self._paid():
            described = ray.get(self._actors[0].describe.remote())
        self.name, self.methods, self.values_sides = described

    @contextmanager
    def _paid(self) -> Iterator[None]:
        """Pay for what is asked in the block, also if it ends in an error."""
        try:
            yield
        finally:
            if self._pay:
                cost: float = ray.get(self._actors[0].cost.remote())
                self._pay(cost - self._spent)
                self._spent = cost

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        return self._split("score", rubric, method, subjects)

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        return self._split("compare", rubric, method, pairs)

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        return self._split("rank", rubric, method, candidate_lists)

    def _split(self, call: str, rubric: Rubric, method: str, items: Sequence[Any]) -> list[Any]:
        """Call a method of every actor with its share of the items; return the results in the
        items' order.
        """
        count = len(self._actors)
        parts = [list(items)[i::count] for i in range(count)]
        refs = [
            getattr(a, call).remote(rubric, method, p)
            for a, p in zip(self._actors, parts, strict=True)
            if p
        ]
        results: list[Any] = [None] * len(items)
        with self._paid():
            for i, part in enumerate(ray.get(refs)):
                results[i::count] = part
        return results

    @override
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        answer = self._actors[0].complete.remote(prompts, max_new_tokens, temperature, seed)
        with self._paid():
            result: list[CompletedText] = ray.get(answer)
        return result


class VerifierWorker:
    """The verifier in its own process, with a sandbox."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        """Return the verification result of each document, in order."""
        return [verify_document(document, generation, self._sandbox) for document in documents]

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        """Return for each claim whether it is right."""
        return verify_claims(claims)


class ChampionWorker:
    """A model that completes prompts and measures the surprise of texts."""

    def __init__(self, folder: str, num_threads: int) -> None:
        _use_threads(num_threads)
        self._folder = Path(folder)

    @cached_property
    def _model(self) -> LanguageModel:
        return LanguageModel(self._folder)

    def complete(
        self, instructions: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """Return one completion per instruction, in order."""
        prompts = [self._model.chat_prompt(self._model.neutralise(text)) for text in instructions]
        return self._model.complete(prompts, max_new_tokens, temperature, seed)

    def surprise(self, samples: Sequence[Sample]) -> list[float]:
        """Return the bits per byte of each sample's completion, after its prompt if it has one."""
        model, clean = self._model, self._model.neutralise
        contexts = [model.chat_prompt(clean(s.prompt)) if s.prompt else "" for s in samples]
        return model.bits_per_byte([clean(s.completion) for s in samples], contexts)
