"""Sampling of completions as token ids with their log-probabilities.

Shapes: B rows, T tokens, V vocabulary. Each completion has its own random stream, so it does not
depend on its batch or on its rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from infra.models.language_model import MAX_BATCH_TOKENS, length_batches

Finish = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class SampleRequest:
    """A prompt's token ids, and the seed of the completion's random stream."""

    prompt_ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Trajectory:
    """A sampled completion: token ids with their log-probabilities under the sampling distribution.

    The end token, if any, is included. `weight_version` is the number of updates of the policy that
    sampled it.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logps: tuple[float, ...]
    finish: Finish
    weight_version: int


class Sampler(Protocol):
    """Completes prompts with the policy's current weights."""

    def sample(self, requests: Sequence[SampleRequest], weight_version: int) -> list[Trajectory]:
        """Return one trajectory per request, in order."""
        ...


@dataclass(frozen=True)
class SamplingLimits:
    """How completions are sampled and where they end."""

    max_new_tokens: int
    temperature: float
    stop: tuple[str, ...] = ()


class TransformersSampler:
    """Samples left-padded batches from a transformers model with a key-value cache."""

    def __init__(self, model: Any, tokenizer: Any, limits: SamplingLimits) -> None:
        self._model, self._tokenizer, self._limits = model, tokenizer, limits
        self._device = next(model.parameters()).device

    @torch.no_grad()
    def sample(self, requests: Sequence[SampleRequest], weight_version: int) -> list[Trajectory]:
        """Return one trajectory per request, in order."""
        lengths = [len(r.prompt_ids) + self._limits.max_new_tokens for r in requests]
        trajectories: dict[int, Trajectory] = {}
        for batch in length_batches(lengths, MAX_BATCH_TOKENS):
            chosen = [requests[i] for i in batch]
            trajectories |= dict(
                zip(batch, self._sample_batch(chosen, weight_version), strict=True)
            )
        return [trajectories[i] for i in range(len(requests))]

    def _sample_batch(
        self, requests: Sequence[SampleRequest], weight_version: int
    ) -> list[Trajectory]:
        rows = [r.prompt_ids for r in requests]
        width, pad = max(map(len, rows)), self._tokenizer.pad_token_id
        ids_BT = torch.tensor(
            [[pad] * (width - len(r)) + list(r) for r in rows], device=self._device
        )
        mask_BT = torch.tensor(
            [[0] * (width - len(r)) + [1] * len(r) for r in rows], device=self._device
        )
        uniform_BT = np.stack(
            [np.random.default_rng(r.seed).random(self._limits.max_new_tokens) for r in requests]
        )
        drawn = _Drawn(self._tokenizer, self._limits.stop, len(rows))
        cache = DynamicCache()
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        for step in range(self._limits.max_new_tokens):
            logits_BV = self._model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            tokens_B, logps_B = draw(
                logits_BV, torch.from_numpy(uniform_BT[:, step]), self._limits.temperature
            )
            drawn.add(tokens_B.tolist(), logps_B.tolist())
            if drawn.all_finished:
                break
            ids_BT = tokens_B.unsqueeze(1)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=1)
            positions_BT = positions_BT[:, -1:] + 1
        return [
            Trajectory(row, tuple(ids), tuple(logps), finish or "length", weight_version)
            for row, ids, logps, finish in zip(
                rows, drawn.ids, drawn.logps, drawn.finish, strict=True
            )
        ]


class _Drawn:
    """The sampled tokens of each row of a batch, and how each row ended."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], num_rows: int) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self.ids: list[list[int]] = [[] for _ in range(num_rows)]
        self.logps: list[list[float]] = [[] for _ in range(num_rows)]
        self.finish: list[Finish | None] = [None] * num_rows

    def add(self, tokens: Sequence[int], logps: Sequence[float]) -> None:
        for row, (token, logp) in enumerate(zip(tokens, logps, strict=True)):
            if self.finish[row] is not None:
                continue
            self.ids[row].append(token)
            self.logps[row].append(logp)
            if token == self._tokenizer.eos_token_id:
                self.finish[row] = "end"
            elif self._stop and self._has_stopped(row):
                self.finish[row] = "stop"

    def _has_stopped(self, row: int) -> bool:
        longest = max(map(len, self._stop))
        # A character takes at most four byte tokens.
        tail = self._tokenizer.decode(self.ids[row][-4 * longest :])
        return any(text in tail for text in self._stop)

    @property
    def all_finished(self) -> bool:
        return None not in self.finish


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return (token, log-probability) for each row, by inverse transform sampling at
    `uniform_B`.
    """
    logps_BV = (logits_BV.float() / temperature).log_softmax(-1)
    cumulative_BV = logps_BV.double().exp().cumsum(-1)
    threshold_B1 = (uniform_B.to(logits_BV.device) * cumulative_BV[:, -1]).unsqueeze(1)
    tokens_B = (
        torch.searchsorted(cumulative_BV, threshold_B1, right=True)
        .squeeze(1)
        .clamp(max=logits_BV.shape[1] - 1)
    )
    return tokens_B, logps_BV.gather(1, tokens_B.unsqueeze(1)).squeeze(1)
