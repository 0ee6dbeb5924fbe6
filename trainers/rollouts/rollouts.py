"""Rollouts: completions with rewards, old and reference log-probabilities, values and
advantages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainers.batches.rows import Row, completed_row
from trainers.config import RlConfig
from trainers.objectives.advantages import (
    Total,
    gae,
    group_relative,
    is_varied,
    leave_one_out,
    returns_to_go,
    token_rewards,
    whiten,
)
from trainers.rollouts.sampler import Trajectory


@dataclass
class Rollout:
    """One completion. Tensors have one number for each of its T tokens, in float32 on the CPU."""

    prompt_id: str
    group: int
    deal: int
    """Its minibatch is this number modulo the number of minibatches."""
    trajectory: Trajectory
    reward: float | None = None
    old_T: Tensor = field(default_factory=lambda: torch.empty(0))
    reference_T: Tensor = field(default_factory=lambda: torch.empty(0))
    values_T: Tensor = field(default_factory=lambda: torch.empty(0))
    returns_T: Tensor = field(default_factory=lambda: torch.empty(0))
    advantages_T: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def row(self) -> Row:
        """Prompt and completion as token ids."""
        return completed_row(self.trajectory.prompt_ids, self.trajectory.completion_ids)

    @property
    def kl_T(self) -> Tensor:
        """k1 estimates of KL(policy, reference) at each token."""
        return self.old_T - self.reference_T

    @property
    def is_used(self) -> bool:
        """Whether it has a reward; others are not trained."""
        return self.reward is not None


def settle_truncated(rollout: Rollout, config: RlConfig) -> None:
    """Apply `train.rl.truncated` to a completion that reached the length limit."""
    if rollout.trajectory.finish != "length" or config.truncated == "keep":
        return
    rollout.reward = None if config.truncated == "drop" else config.truncated_reward


def kl_is_rewarded(kind: str, config: RlConfig) -> bool:
    """Whether the KL penalty is part of the reward, else of the loss."""
    return config.kl_in == "reward" or (config.kl_in == "auto" and kind != "grpo")


def _earned(rollout: Rollout, config: RlConfig, rewarded: bool) -> Tensor:
    """Return the reward of each token, with the KL penalty if it is part of the reward."""
    assert rollout.reward is not None, "rollouts without a reward are not used"
    return token_rewards(rollout.reward, rollout.kl_T, config.kl_coefficient if rewarded else 0.0)


def _ppo(
    rollouts: Sequence[Rollout], config: RlConfig, total: Total, rewarded: bool
) -> list[Tensor]:
    rows = []
    for rollout in rollouts:
        earned_T = _earned(rollout, config, rewarded)
        advantages_T, rollout.returns_T = gae(earned_T, rollout.values_T, config.gamma, config.lam)
        rows.append(advantages_T)
    return _whitened(rows, total)


def _reinforce_pp(
    rollouts: Sequence[Rollout], config: RlConfig, total: Total, rewarded: bool
) -> list[Tensor]:
    """REINFORCE++ (Hu 2025): returns with the KL penalty at each token, normalised over the global
    batch.
    """
    return _whitened(
        [returns_to_go(_earned(r, config, rewarded), config.gamma) for r in rollouts], total
    )


def _whitened(rows: Sequence[Tensor], total: Total) -> list[Tensor]:
    return whiten(rows if rows else [torch.empty(0)], total)[: len(rows)]


def _grouped(advantages: Callable[[Tensor], Tensor]) -> Callable[..., list[Tensor]]:
    """Return a function for advantages of whole completions within each prompt's group, equal at
    every token.
    """

    def group_advantages(
        rollouts: Sequence[Rollout], config: RlConfig, total: Total, rewarded: bool
    ) -> list[Tensor]:
        del total  # a prompt's completions are all on one rank
        sums = [float(_earned(r, config, rewarded).sum()) for r in rollouts]
        rows = [torch.empty(0)] * len(rollouts)
        for group in {r.group for r in rollouts}:
            members = [i for i, r in enumerate(rollouts) if r.group == group]
            values = advantages(torch.tensor([sums[i] for i in members])).tolist()
            for i, value in zip(members, values, strict=True):
                rows[i] = torch.full((len(rollouts[i].trajectory.completion_ids),), value)
        return rows

    return group_advantages


def set_advantages(kind: str, rollouts: Sequence[Rollout], config: RlConfig, total: Total) -> None:
    """Set the advantages (and for ppo the returns) of every rollout with a reward."""
    functions: Mapping[str, Callable[..., list[Tensor]]] = {
        "ppo": _ppo,
        "grpo": _grouped(lambda rewards_G: group_relative(rewards_G, config.scaled)),
        "rloo": _grouped(leave_one_out),
        "reinforce_pp": _reinforce_pp,
    }
    used = [r for r in rollouts if r.is_used]
    rows = functions[kind](used, config, total, kl_is_rewarded(kind, config))
    for rollout, advantages_T in zip(used, rows, strict=True):
        rollout.advantages_T = advantages_T


def groups_without_variance(rollouts: Sequence[Rollout]) -> int:
    """Return the number of prompts whose completions have equal rewards; grpo and rloo learn
    nothing from them.
    """
    groups: dict[int, list[float]] = {}
    for rollout in rollouts:
        if rollout.reward is not None:
            groups.setdefault(rollout.group, []).append(rollout.reward)
    return sum(not is_varied(torch.tensor(rewards)) for rewards in groups.values())
