"""Reward hacking: the score used in training rises while no primary measure of the gate does.

Gao et al. 2023 (arXiv:2210.10760): past a point, optimising a proxy further makes the true measure
worse.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from infra.records import Evaluation, GateTest, TrainStep
from loop.gate.config import LABELER_SUITE
from trainers.config import RL_KINDS


def hacking_reason(
    steps: Sequence[TrainStep],
    evaluations: Sequence[Evaluation],
    tests: Sequence[GateTest],
    candidate: str,
) -> str:
    """Why a candidate looks like a case of reward hacking; empty if it does not.

    It does if the training reward rose, or the labeler prefers the candidate, while no primary
    measure improved.
    """
    if primary_measure_rose(tests):
        return ""
    rises = [_reward_reason(steps), _labeler_reason(evaluations, candidate)]
    reasons = [reason for reason in rises if reason]
    return f"{' and '.join(reasons)}, and no primary measure rose" if reasons else ""


def primary_measure_rose(tests: Sequence[GateTest]) -> bool:
    """Whether any primary measure is above the champion's, or none was measured."""
    gains = [test.mean_gain for test in tests if test.role == "primary" and test.num_items]
    return not gains or max(gains) > 0


def _reward_reason(steps: Sequence[TrainStep]) -> str:
    rise = reward_rise(steps)
    if rise is None or rise[1] <= rise[0]:
        return ""
    return f"the reward rose from {rise[0]:.3f} to {rise[1]:.3f} in training"


def _labeler_reason(evaluations: Sequence[Evaluation], candidate: str) -> str:
    """Whether the labeler prefers the candidate: the 95% Student interval lies above one half."""
    for e in evaluations:
        is_win_rate = (e.suite, e.metric, e.model_digest) == (LABELER_SUITE, "win_rate", candidate)
        if is_win_rate and e.value - t.ppf(0.975, e.num_items - 1) * e.standard_error > 0.5:
            rate = f"win rate {e.value:.2f} ± {e.standard_error:.2f}"
            return f"the labeler prefers it to the champion ({rate})"
    return ""


def reward_rise(steps: Sequence[TrainStep]) -> tuple[float, float] | None:
    """Mean reward of the first and of the last third of a policy gradient's iterations.

    None if there are fewer than three iterations. If several kinds of policy gradients were
    trained, the one with the most iterations counts.
    """
    steps_by_kind = [[s for s in steps if s.kind == kind] for kind in RL_KINDS]
    rewards = [json.loads(s.metrics)["reward"] for s in max(steps_by_kind, key=len)]
    third = len(rewards) // 3
    return (float(np.mean(rewards[:third])), float(np.mean(rewards[-third:]))) if third else None
