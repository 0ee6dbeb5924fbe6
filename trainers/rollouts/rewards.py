"""Rewards of completions: from this generation's reward model, and from sources outside the
worker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from trainers.batches.packing import best_fit, make_pack
from trainers.batches.rows import Row
from trainers.models.modules import ScalarModel

REWARD_MODEL = "reward_model"


@dataclass(frozen=True)
class RewardRequest:
    """A completion to be rewarded, as text. `check` and `reference` are for verifiers; they can be
    empty.
    """

    prompt: str
    completion: str
    check: str = ""
    reference: str = ""


class Rewarder(Protocol):
    """Plug-in point: a source of rewards."""

    def rewards(self, requests: Sequence[RewardRequest]) -> list[float | None]:
        """Return a reward for each request. None means unscored; the completion is left out."""
        ...


@torch.no_grad()
def model_rewards(model: ScalarModel, rows: Sequence[Row], pack_tokens: int) -> list[float]:
    """Return the reward model's reward for each row of token ids."""
    lengths = [len(row) for row in rows]
    rewards = [math.nan] * len(rows)
    for items in best_fit(range(len(rows)), lengths, pack_tokens):
        values_B = model.rewards(make_pack([rows[i] for i in items]).to(model.model.device))
        for i, value in zip(items, values_B.tolist(), strict=True):
            rewards[i] = value
    return rewards


def weighted_sum(
    parts: Mapping[str, Sequence[float | None]], weights: Mapping[str, float]
) -> list[float | None]:
    """Return the weighted sum of all sources for each completion; None if any of them has no
    reward.
    """
    names = list(parts)
    totals: list[float | None] = []
    for row in zip(*(parts[name] for name in names), strict=True):
        known = [
            weights[name] * value
            for name, value in zip(names, row, strict=True)
            if value is not None
        ]
        totals.append(sum(known) if len(known) == len(names) else None)
    return totals
