"""Scorers: several models on the same texts in float32, in one process or shared among actors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from infra.errors import UserError
from infra.records import content_key
from loop.gate.estimates import bits_per_byte, num_bytes
from loop.gate.suites.base import Scorer

if TYPE_CHECKING:
    from infra.models.language_model import CompletedText, LanguageModel

T = TypeVar("T")
SHORT_ANSWER_TOKENS = 24
LONG_ANSWER_TOKENS = 96
CONTINUATION_TOKENS = 40
NUM_SAMPLES = 4
"""Texts sampled for each prompt."""
PROMPTS_PER_BATCH = 4
"""Prompts that one process samples from at a time."""
SMOKE_TEXT = "The quick brown fox jumps over the lazy dog."
ANCHOR_INDEX = -1
"""Index of the anchor in a scorer."""


def _held(model: LanguageModel, text: str) -> tuple[str, int]:
    """Return what the window holds of a text, and its bytes: only these are scored."""
    clean = model.neutralise(text)
    held = model.held(clean)
    return held, num_bytes([text if held == clean else held])


class ModelScorer(Scorer):
    """Models loaded side by side in one process: candidates, champion, others, anchor last."""

    def __init__(self, folders: Sequence[str], num_candidates: int, num_threads: int) -> None:
        import torch

        torch.set_num_threads(num_threads)
        self.num_candidates = num_candidates
        self._folders = list(folders)
        self._loaded: dict[str, LanguageModel] = {}
        self._samples: dict[tuple[Any, ...], list[list[CompletedText]]] = {}

    def _model(self, index: int) -> LanguageModel:
        """A model, which is loaded when it is first needed."""
        from infra.models.language_model import LanguageModel

        folder = self._folders[index]
        if folder not in self._loaded:
            self._loaded[folder] = LanguageModel(Path(folder), "gate", exact=True)
        return self._loaded[folder]

    def _each(self, score: Callable[[LanguageModel], list[T]]) -> list[list[T]]:
        """The scores of every model; a model that stands for several is scored once."""
        indices = {folder: i for i, folder in enumerate(self._folders)}
        by_folder = {folder: score(self._model(i)) for folder, i in indices.items()}
        return [by_folder[folder] for folder in self._folders]

    @override
    def problem(self, candidate: int) -> str:
        try:
            model = self._model(candidate)
        except UserError as error:
            return f"the candidate does not load ({error})"
        (score,) = model.score([("", SMOKE_TEXT)])
        if not math.isfinite(score.logp):
            return "the candidate's log-probabilities are not finite"
        (answer,) = model.complete([model.chat_prompt(SMOKE_TEXT)], 4, 0.0, 0)
        return "" if answer.num_tokens > 0 else "the candidate completes nothing"

    @override
    def keep(self, candidates: Sequence[int]) -> None:
        others = self._folders[self.num_candidates :]
        self._folders = [*(self._folders[index] for index in candidates), *others]
        self.num_candidates = len(candidates)

    @override
    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        def document_bits(model: LanguageModel) -> list[float]:
            held = [[_held(model, part) for part in parts] for parts in documents]
            scores = iter(model.score([("", text) for parts in held for text, _ in parts]))
            logps = [sum(next(scores).logp for _ in parts) for parts in held]
            sizes = [sum(size for _, size in parts) for parts in held]
            return [bits_per_byte(logp, size) for logp, size in zip(logps, sizes, strict=True)]

        return self._each(document_bits)

    @override
    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        def each(model: LanguageModel) -> list[float]:
            clean = [(model.neutralise(a), model.neutralise(b)) for a, b in pairs]
            return [score.logp for score in model.score(clean)]

        return self._each(each)

    @override
    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        models = [self._model(index) for index in range(self.num_candidates + 1)]
        return [_greedy_answers(model, prompts, SHORT_ANSWER_TOKENS) for model in models]

    @override
    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        def stripped(model: LanguageModel) -> list[str]:
            answers = _greedy_answers(model, prompts, LONG_ANSWER_TOKENS)
            return [text.strip() for text in answers]

        return self._each(stripped)

    @override
    def lm_eval(self, task: str, indices: Sequence[int]) -> list[list[float]]:
        from loop.gate.suites.items.harness import task_scores

        return self._each(lambda model: task_scores(model, task, indices))

    @override
    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        def texts(model: LanguageModel) -> list[list[str]]:
            sampled = self._sampled(model, prompts, seed, asked)
            return [[completed.text for completed in by_prompt] for by_prompt in sampled]

        return self._each(texts)

    @override
    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        """The k1 estimate of KL(model, anchor) for each prompt, in nats a token; 0 for the anchor.

        The sampled token ids are scored, not the text cut into tokens again: the model that
        sampled them would find another cut unlikely, and the estimate would become negative.
        """
        anchor = self._model(ANCHOR_INDEX)

        def estimates(model: LanguageModel) -> list[float]:
            if model is anchor:
                return [0.0] * len(prompts)
            rows = [
                (model.prompt_ids(_prefix(model, prompt, asked), _num_tokens(asked)), list(c.ids))
                for prompt, by_prompt in zip(
                    prompts, self._sampled(model, prompts, seed, asked), strict=True
                )
                for c in by_prompt
            ]
            own, other = model.score_ids(rows), anchor.score_ids(rows)
            ratios = [(a.logp - b.logp, a.num_tokens) for a, b in zip(own, other, strict=True)]
            starts = range(0, len(ratios), NUM_SAMPLES)
            return [_mean_per_token(ratios[i : i + NUM_SAMPLES]) for i in starts]

        return self._each(estimates)

    def _sampled(
        self, model: LanguageModel, prompts: Sequence[str], seed: int, asked: bool
    ) -> list[list[CompletedText]]:
        """The samples of each prompt. They are kept, since several measures use the same ones."""
        key = (id(model), seed, asked, *prompts)
        if key not in self._samples:
            prefixes = [
                _prefix(model, prompt, asked) for prompt in prompts for _ in range(NUM_SAMPLES)
            ]
            texts = model.complete(prefixes, _num_tokens(asked), 1.0, seed)
            starts = range(0, len(texts), NUM_SAMPLES)
            self._samples[key] = [texts[i : i + NUM_SAMPLES] for i in starts]
        return self._samples[key]


def _greedy_answers(model: LanguageModel, prompts: Sequence[str], max_tokens: int) -> list[str]:
    questions = [model.chat_prompt(model.neutralise(prompt)) for prompt in prompts]
    return [completed.text for completed in model.complete(questions, max_tokens, 0.0, 0)]


def _prefix(model: LanguageModel, prompt: str, asked: bool) -> str:
    """The text that a model continues: a chat prompt if `asked`, else the prompt as it is."""
    text = model.neutralise(prompt)
    return model.chat_prompt(text) if asked else text


def _num_tokens(asked: bool) -> int:
    return LONG_ANSWER_TOKENS if asked else CONTINUATION_TOKENS


def _mean_per_token(ratios: Sequence[tuple[float, int]]) -> float:
    return sum(ratio for ratio, _ in ratios) / max(1, sum(tokens for _, tokens in ratios))


class SharedScorer(Scorer):
    """Ray actors of `ModelScorer` that share the items; answers come back in the items' order."""

    def __init__(self, actors: Sequence[Any], num_candidates: int) -> None:
        self._actors = list(actors)
        self.num_candidates = num_candidates

    @override
    def problem(self, candidate: int) -> str:
        import ray

        return str(ray.get(self._actors[0].problem.remote(candidate)))

    @override
    def keep(self, candidates: Sequence[int]) -> None:
        import ray

        ray.get([actor.keep.remote(list(candidates)) for actor in self._actors])
        self.num_candidates = len(candidates)

    @override
    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        return self._dealt("bits", documents)

    @override
    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        return self._dealt("logps", pairs)

    @override
    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return self._dealt("answers", prompts)

    @override
    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return self._dealt("all_answers", prompts)

    @override
    def lm_eval(self, task: str, indices: Sequence[int]) -> list[list[float]]:
        return self._dealt("lm_eval", indices, task)

    @override
    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        return self._in_batches("samples", prompts, seed, asked)

    @override
    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        return self._in_batches("drift", prompts, seed, asked)

    def _in_batches(
        self, method: str, prompts: Sequence[str], seed: int, asked: bool
    ) -> list[list[Any]]:
        """One row for each model. A batch has its own seed, whatever the number of actors."""
        import ray

        starts = range(0, len(prompts), PROMPTS_PER_BATCH)
        batches = [list(prompts[start : start + PROMPTS_PER_BATCH]) for start in starts]
        calls = [
            getattr(self._actors[i % len(self._actors)], method).remote(
                batch, int(content_key(seed, i)[:8], 16), asked
            )
            for i, batch in enumerate(batches)
        ]
        rows = zip(*ray.get(calls), strict=True)
        return [[value for part in row for value in part] for row in rows]

    def _dealt(self, method: str, items: Sequence[Any], *first: Any) -> list[list[Any]]:
        """Actor k gets the items k, k + n, ...; one row for each model, in the items' order."""
        import ray

        count = max(1, min(len(self._actors), len(items)))
        calls = [
            getattr(actor, method).remote(*first, list(items[k::count]))
            for k, actor in enumerate(self._actors[:count])
        ]
        rows = []
        for parts in zip(*ray.get(calls), strict=True):
            row: list[Any] = [None] * len(items)
            for k, values in enumerate(parts):
                row[k::count] = values
            rows.append(row)
        return rows
