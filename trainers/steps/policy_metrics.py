"""What an iteration of policy gradients is watched by: sums over ranks, the numbers they come to,
and alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from infra.errors import StageError
from trainers.config import RlConfig
from trainers.rollouts.rollouts import Rollout, groups_without_variance
from trainers.task import Task


@dataclass
class Sums:
    """Sums over this rank's tokens in one iteration, by name."""

    values: dict[str, float] = field(default_factory=dict)

    def add(self, **numbers: float | Tensor) -> None:
        """Add to sums."""
        for name, number in numbers.items():
            self.values[name] = self.values.get(name, 0.0) + float(number)


def note_rollouts(rollouts: Sequence[Rollout], sums: Sums) -> None:
    """Add what this rank's completions come to."""
    used = [r for r in rollouts if r.is_used]
    sums.add(
        completions=len(rollouts),
        used=len(used),
        reward=sum(r.reward or 0.0 for r in used),
        kl=sum(float(r.kl_T.sum()) for r in rollouts),
        length=sum(len(r.trajectory.completion_ids) for r in rollouts),
        truncated=sum(r.trajectory.finish == "length" for r in rollouts),
        flat_groups=groups_without_variance(rollouts),
        num_tokens=sum(len(r.row) for r in rollouts),
    )


def iteration_metrics(total: Mapping[str, float], num_updates: int) -> dict[str, float]:
    """Means from sums over all ranks: per completion, per token, or per ratio."""
    completions, ratios = total["completions"], max(total["ratios"], 1)
    metrics = {
        "reward": total["reward"] / max(total["used"], 1),
        "kl": total["kl"] / completions,
        "entropy": total["entropy"] / total["tokens"],
        "length": total["length"] / completions,
        "clipped": total["clipped"] / ratios,
        "moved": total["moved"] / ratios,
        "truncated": total["truncated"] / completions,
        "unscored": completions - total["used"],
        "flat_groups": total["flat_groups"],
    }
    if "value_loss" in total:
        metrics["value_loss"] = total["value_loss"] / num_updates
    return metrics


def raise_alarm(task: Task, number: int, metrics: Mapping[str, float], rl: RlConfig) -> None:
    """Raise `StageError` for a policy that has gone astray, before it reaches the gate."""
    limits = {
        "kl": (metrics["kl"] > rl.max_kl, f"above train.rl.max_kl = {rl.max_kl:g}"),
        "entropy": (
            metrics["entropy"] < rl.min_entropy,
            f"below train.rl.min_entropy = {rl.min_entropy:g}",
        ),
        "clipped": (
            metrics["clipped"] > rl.max_clipped,
            f"above train.rl.max_clipped = {rl.max_clipped:g}",
        ),
        "length": (
            metrics["length"] < rl.min_length,
            f"below train.rl.min_length = {rl.min_length:g}",
        ),
    }
    for name, (is_wrong, words) in limits.items():
        if is_wrong:
            raise StageError(
                "train", f"{task.kind} step {number}", f"{name} {metrics[name]:.3g} is {words}"
            )
