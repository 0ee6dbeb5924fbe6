"""Several models scored on the same texts, in float32, in the same batches; split among workers if there are many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from infra.errors import UserError
from infra.language_model import LanguageModel
from loop.evaluation import bits_per_byte

T = TypeVar("T")
ANSWER_TOKENS = 24
LONG_ANSWER_TOKENS = 96
CONTINUATION_TOKENS = 40
SMOKE_TEXT = "The quick brown fox jumps over the lazy dog."


class ModelScorer:
    """Models loaded side by side: candidate, champion, and others up to the anchor, which is last."""

    def __init__(self, folders: Sequence[str], num_threads: int) -> None:
        import torch

        torch.set_num_threads(num_threads)
        self._folders = list(folders)

    @cached_property
    def _loaded(self) -> dict[str, LanguageModel]:
        return {folder: LanguageModel(Path(folder), "gate", exact=True) for folder in dict.fromkeys(self._folders)}

    def _model(self, place: int) -> LanguageModel:
        return self._loaded[self._folders[place]]

    def _each(self, score: Callable[[LanguageModel], list[T]]) -> list[list[T]]:
        """What comes of every model, computed once for one that has several places."""
        found = {folder: score(model) for folder, model in self._loaded.items()}
        return [found[folder] for folder in self._folders]

    def problem(self) -> str:
        """See `loop.suites.Scorer`: it loads from its folder alone, gives finite numbers, and completes."""
        try:
            candidate = self._model(0)
        except UserError as error:
            return f"the candidate does not load ({error})"
        (score,) = candidate.score([("", SMOKE_TEXT)])
        if not math.isfinite(score.logp):
            return "the candidate's log-probabilities are not finite"
        (answer,) = candidate.complete([candidate.chat_prompt(SMOKE_TEXT)], 4, 0.0, 0)
        return "" if answer.num_tokens > 0 else "the candidate completes nothing"

    def bits(self, texts: Sequence[str]) -> list[list[float]]:
        """See `loop.suites.Scorer`."""
        sizes = [len(text.encode()) for text in texts]

        def of(model: LanguageModel) -> list[float]:
            scores = model.score([("", model.neutralise(text)) for text in texts])
            return [bits_per_byte(s.logp, size) for s, size in zip(scores, sizes, strict=True)]

        return self._each(of)

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """See `loop.suites.Scorer`."""
        return self._each(lambda model: [s.logp for s in model.score(list(pairs))])

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.suites.Scorer`: the likeliest answers."""
        return [
            [c.text for c in m.complete([m.chat_prompt(m.neutralise(p)) for p in prompts], ANSWER_TOKENS, 0.0, 0)]
            for m in (self._model(0), self._model(1))
        ]

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.suites.Scorer`: the likeliest answers, by every model."""

        def of(model: LanguageModel) -> list[str]:
            asked = [model.chat_prompt(model.neutralise(prompt)) for prompt in prompts]
            return [c.text.strip() for c in model.complete(asked, LONG_ANSWER_TOKENS, 0.0, 0)]

        return self._each(of)

    def harness(self, task: str, places: Sequence[int]) -> list[list[float]]:
        """See `loop.suites.Scorer`."""
        from loop.harness import task_scores

        return self._each(lambda model: task_scores(model, task, places))

    def continuations(self, texts: Sequence[str], seed: int) -> list[list[str]]:
        """See `loop.suites.Scorer`: sampled at temperature 1 with the same seed."""
        return [_continued(self._model(place), texts, seed) for place in (0, 1)]

    def drift(self, texts: Sequence[str], seed: int) -> float:
        """See `loop.suites.Scorer`: the k1 estimate of KL(candidate, anchor) for each token."""
        candidate, anchor = self._model(0), self._model(-1)
        texts = [candidate.neutralise(text) for text in texts]
        pairs = list(zip(texts, _continued(candidate, texts, seed), strict=True))
        own, other = candidate.score(pairs), anchor.score(pairs)
        return sum(s.logp for s in own) / max(1, sum(s.num_tokens for s in own)) - sum(s.logp for s in other) / max(
            1, sum(s.num_tokens for s in other)
        )


def _continued(model: LanguageModel, texts: Sequence[str], seed: int) -> list[str]:
    return [c.text for c in model.complete([model.neutralise(t) for t in texts], CONTINUATION_TOKENS, 1.0, seed)]


class SharedScorer:
    """See `loop.suites.Scorer`: items dealt out among Ray actors of `ModelScorer`, answers put back in order."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)

    def problem(self) -> str:
        """See `loop.suites.Scorer`."""
        return str(self._by_first("problem"))

    def bits(self, texts: Sequence[str]) -> list[list[float]]:
        """See `loop.suites.Scorer`."""
        return self._dealt("bits", texts)

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """See `loop.suites.Scorer`."""
        return self._dealt("logps", pairs)

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.suites.Scorer`."""
        return self._dealt("answers", prompts)

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.suites.Scorer`."""
        return self._dealt("all_answers", prompts)

    def harness(self, task: str, places: Sequence[int]) -> list[list[float]]:
        """See `loop.suites.Scorer`: by one actor, since a task is loaded whole."""
        found: list[list[float]] = self._by_first("harness", task, list(places))
        return found

    def continuations(self, texts: Sequence[str], seed: int) -> list[list[str]]:
        """See `loop.suites.Scorer`: by one actor, since the seed is for the batch."""
        found: list[list[str]] = self._by_first("continuations", list(texts), seed)
        return found

    def drift(self, texts: Sequence[str], seed: int) -> float:
        """See `loop.suites.Scorer`."""
        return float(self._by_first("drift", list(texts), seed))

    def _by_first(self, method: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self._actors[0], method).remote(*arguments))

    def _dealt(self, method: str, items: Sequence[Any]) -> list[list[Any]]:
        """Actor k gets items k, k + n, ...; a row for each model comes back in the items' order."""
        import ray

        count = max(1, min(len(self._actors), len(items)))
        parts = ray.get([
            getattr(actor, method).remote(list(items[k::count])) for k, actor in enumerate(self._actors[:count])
        ])  # fmt: skip
        rows = []
        for of_model in zip(*parts, strict=True):
            row: list[Any] = [None] * len(items)
            for k, values in enumerate(of_model):
                row[k::count] = values
            rows.append(row)
        return rows
