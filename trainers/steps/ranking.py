"""Reward modelling: Bradley-Terry on rankings, with a scalar head on each row's last token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from trainers.batches.packing import Bin, Pack
from trainers.batches.rows import Row
from trainers.engine.engine import Engine
from trainers.objectives.losses import reward_loss
from trainers.steps.base import SupervisedStep, build_engine


class RewardModelling(SupervisedStep):
    """Training of a reward model. All pairs of a prompt are one item and share a weight of 1
    (Ouyang et al. 2022).
    """

    section = "reward_model"
    sums = ("accuracy", "reward")

    @override
    def build(self) -> Engine:
        return build_engine(Path(self.task.source), self.config, scalar_seed=self.task.seed)

    @override
    def make_rows(self, data: Mapping[str, Any]) -> list[Row]:
        if not data["pairs"]:
            return []
        return [self.builder.demonstration(data["prompt"], text) for text in data["completions"]]

    @override
    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        rewards_B = self.engine(pack)[pack.last_T]
        chosen, rejected, weights, margins = [], [], [], []
        start = 0
        for i in items:
            pairs = self.data[i]["pairs"]
            for pair in pairs:
                chosen.append(start + pair["chosen"])
                rejected.append(start + pair["rejected"])
                weights.append(1 / len(pairs))
                margins.append(self.config.reward_model.margin * pair["margin"])
            start += len(self.items[i].rows)
        chosen_P, rejected_P = rewards_B[chosen], rewards_B[rejected]
        weights_P = torch.tensor(weights, device=rewards_B.device)
        margins_P = (
            torch.tensor(margins, device=rewards_B.device)
            if self.config.reward_model.margin
            else None
        )
        loss = reward_loss(
            chosen_P, rejected_P, weights_P, margins_P, self.config.reward_model.centering
        )
        right_P = (chosen_P > rejected_P).float() + 0.5 * (chosen_P == rejected_P)
        return loss, (
            (weights_P * right_P).sum(),
            (weights_P * (chosen_P + rejected_P)).sum().detach() / 2,
        )
