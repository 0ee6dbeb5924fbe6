"""Metrics of an iteration of policy gradients: sums over ranks, the means from them, and limits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from infra.errors import StageError
from trainers.config import RlConfig
from trainers.rollouts.rollouts import Rollout, groups_without_variance
from trainers.task import Task


@dataclass
class IterationSums:
    """Sums over this rank's tokens in one iteration, by name."""

    values: dict[str, float] = field(default_factory=dict)

    def add(self, **numbers: float | Tensor) -> None:
        """Add numbers to sums."""
        for name, number in numbers.items():
            self.values[name] = self.values.get(name, 0.0) + float(number)


class PhaseTimer:
    """Seconds of each phase of an iteration, by name; phases may be nested."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def reset(self) -> None:
        """Forget all seconds."""
        self.seconds = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


def add_rollouts(rollouts: Sequence[Rollout], sums: IterationSums) -> None:
    """Add this rank's rollouts to the sums."""
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
    """Return means from sums over all ranks: per completion, per token, or per ratio."""
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
    """Raise `StageError` if a metric exceeds a limit of `train.rl`."""
    upper, lower = "above", "below"
    limits = (
        ("kl", upper, "max_kl", rl.max_kl),
        ("entropy", lower, "min_entropy", rl.min_entropy),
        ("clipped", upper, "max_clipped", rl.max_clipped),
        ("length", lower, "min_length", rl.min_length),
    )
    for name, side, key, limit in limits:
        value = metrics[name]
        if value > limit if side == upper else value < limit:
            problem = f"{name} {value:.3g} is {side} train.rl.{key} = {limit:g}"
            raise StageError("train", f"{task.kind} step {number}", problem)
