"""Several models scored on the same texts, in float32, in the same batches; split among workers if
there are many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from infra.errors import UserError
from infra.models.language_model import CompletedText, LanguageModel
from infra.records import content_key
from loop.gate.estimates import bits_per_byte

T = TypeVar("T")
ANSWER_TOKENS = 24
LONG_ANSWER_TOKENS = 96
CONTINUATION_TOKENS = 40
NUM_SAMPLES = 4
"""Of each prompt where texts are sampled."""
SAMPLED_TOGETHER = 4
"""Prompts that one process samples from at a time."""
SMOKE_TEXT = "The quick brown fox jumps over the lazy dog."


class ModelScorer:
    """Models loaded side by side: candidate, champion, and others up to the anchor, which is last."""

    def __init__(self, folders: Sequence[str], num_threads: int) -> None:
        import torch

        torch.set_num_threads(num_threads)
        self._folders = list(folders)
        self._samples: dict[tuple[Any, ...], list[list[CompletedText]]] = {}

    @cached_property
    def _loaded(self) -> dict[str, LanguageModel]:
        return {
            folder: LanguageModel(Path(folder), "gate", exact=True)
            for folder in dict.fromkeys(self._folders)
        }

    def _model(self, place: int) -> LanguageModel:
        return self._loaded[self._folders[place]]

    def _each(self, score: Callable[[LanguageModel], list[T]]) -> list[list[T]]:
        """What comes of every model, computed once for one that has several places."""
        found = {folder: score(model) for folder, model in self._loaded.items()}
        return [found[folder] for folder in self._folders]

    def problem(self) -> str:
        """See `loop.gate.suites.base.Scorer`: it loads from its folder alone, gives finite numbers,
        and completes.
        """
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
        """See `loop.gate.suites.base.Scorer`."""
        sizes = [len(text.encode()) for text in texts]

        def of(model: LanguageModel) -> list[float]:
            scores = model.score([("", model.neutralise(text)) for text in texts])
            return [bits_per_byte(s.logp, size) for s, size in zip(scores, sizes, strict=True)]

        return self._each(of)

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """See `loop.gate.suites.base.Scorer`."""
        return self._each(lambda model: [s.logp for s in model.score(list(pairs))])

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.gate.suites.base.Scorer`: the likeliest answers."""
        return [
            [
                c.text
                for c in m.complete(
                    [m.chat_prompt(m.neutralise(p)) for p in prompts], ANSWER_TOKENS, 0.0, 0
                )
            ]
            for m in (self._model(0), self._model(1))
        ]

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.gate.suites.base.Scorer`: the likeliest answers, by every model."""

        def of(model: LanguageModel) -> list[str]:
            asked = [model.chat_prompt(model.neutralise(prompt)) for prompt in prompts]
            return [c.text.strip() for c in model.complete(asked, LONG_ANSWER_TOKENS, 0.0, 0)]

        return self._each(of)

    def harness(self, task: str, places: Sequence[int]) -> list[list[float]]:
        """See `loop.gate.suites.base.Scorer`."""
        from loop.gate.suites.lm_eval_tasks import task_scores

        return self._each(lambda model: task_scores(model, task, places))

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        """See `loop.gate.suites.base.Scorer`: at temperature 1, by every model with the same seed."""
        return self._each(
            lambda model: [
                [c.text for c in of_prompt]
                for of_prompt in self._sampled(model, prompts, seed, asked)
            ]
        )

    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        """See `loop.gate.suites.base.Scorer`: the k1 estimate of KL(model, anchor), the anchor's
        being 0.
        """
        anchor = self._model(-1)

        def of(model: LanguageModel) -> list[float]:
            if model is anchor:
                return [0.0] * len(prompts)
            # Tokens as they were sampled: another way to cut the text is unlikely under the model
            # that sampled it, and most of all under a confident one, so that its divergence would
            # come out negative.
            tokens = [
                (
                    model.prompt_ids(_begun(model, prompt, asked), _num_tokens(asked)),
                    list(completed.ids),
                )
                for prompt, of_prompt in zip(
                    prompts, self._sampled(model, prompts, seed, asked), strict=True
                )
                for completed in of_prompt
            ]
            ratios = [
                (own.logp - other.logp, own.num_tokens)
                for own, other in zip(
                    model.score_ids(tokens), anchor.score_ids(tokens), strict=True
                )
            ]
            return [
                _for_each_token(ratios[i : i + NUM_SAMPLES])
                for i in range(0, len(ratios), NUM_SAMPLES)
            ]

        return self._each(of)

    def _sampled(
        self, model: LanguageModel, prompts: Sequence[str], seed: int, asked: bool
    ) -> list[list[CompletedText]]:
        """Several samples of each prompt; kept, since each measure of them asks for the same."""
        key = (id(model), seed, asked, *prompts)
        if key not in self._samples:
            begun = [_begun(model, prompt, asked) for prompt in prompts for _ in range(NUM_SAMPLES)]
            texts = model.complete(begun, _num_tokens(asked), 1.0, seed)
            self._samples[key] = [
                texts[i : i + NUM_SAMPLES] for i in range(0, len(texts), NUM_SAMPLES)
            ]
        return self._samples[key]


def _begun(model: LanguageModel, prompt: str, asked: bool) -> str:
    """What a model goes on from: an answer to a prompt, or the text itself."""
    text = model.neutralise(prompt)
    return model.chat_prompt(text) if asked else text


def _num_tokens(asked: bool) -> int:
    return LONG_ANSWER_TOKENS if asked else CONTINUATION_TOKENS


def _for_each_token(ratios: Sequence[tuple[float, int]]) -> float:
    return sum(ratio for ratio, _ in ratios) / max(1, sum(tokens for _, tokens in ratios))


class SharedScorer:
    """See `loop.gate.suites.base.Scorer`: items dealt out among Ray actors of `ModelScorer`,
    answers put back in order.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)

    def problem(self) -> str:
        """See `loop.gate.suites.base.Scorer`."""
        import ray

        return str(ray.get(self._actors[0].problem.remote()))

    def bits(self, texts: Sequence[str]) -> list[list[float]]:
        """See `loop.gate.suites.base.Scorer`."""
        return self._dealt("bits", texts)

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """See `loop.gate.suites.base.Scorer`."""
        return self._dealt("logps", pairs)

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.gate.suites.base.Scorer`."""
        return self._dealt("answers", prompts)

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """See `loop.gate.suites.base.Scorer`."""
        return self._dealt("all_answers", prompts)

    def harness(self, task: str, places: Sequence[int]) -> list[list[float]]:
        """See `loop.gate.suites.base.Scorer`."""
        return self._dealt("harness", places, task)

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        """See `loop.gate.suites.base.Scorer`."""
        return self._in_batches("samples", prompts, seed, asked)

    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        """See `loop.gate.suites.base.Scorer`: of the same samples."""
        return self._in_batches("drift", prompts, seed, asked)

    def _in_batches(
        self, method: str, prompts: Sequence[str], seed: int, asked: bool
    ) -> list[list[Any]]:
        """A row for each model. A seed is for a batch, so batches are the same for any number of
        actors.
        """
        import ray

        starts = range(0, len(prompts), SAMPLED_TOGETHER)
        parts = ray.get(
            [
                getattr(self._actors[i % len(self._actors)], method).remote(
                    list(prompts[start : start + SAMPLED_TOGETHER]),
                    int(content_key(seed, i)[:8], 16),
                    asked,
                )
                for i, start in enumerate(starts)
            ]
        )
        return [
            [value for values in of_model for value in values]
            for of_model in zip(*parts, strict=True)
        ]

    def _dealt(self, method: str, items: Sequence[Any], *before: Any) -> list[list[Any]]:
        """Actor k gets items k, k + n, ...; a row for each model comes back in the items' order."""
        import ray

        count = max(1, min(len(self._actors), len(items)))
        parts = ray.get(
            [
                getattr(actor, method).remote(*before, list(items[k::count]))
                for k, actor in enumerate(self._actors[:count])
            ]
        )
        rows = []
        for of_model in zip(*parts, strict=True):
            row: list[Any] = [None] * len(items)
            for k, values in enumerate(of_model):
                row[k::count] = values
            rows.append(row)
        return rows
