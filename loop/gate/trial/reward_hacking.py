"""Is it the score that was learned, and not the task? What was trained on rises, and what nobody
trained on does not.

Gao et al. 2023 (arXiv:2210.10760): past a point, the more a proxy is optimised the worse the
measure becomes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from infra.records import Evaluation, GateTest, TrainStep
from trainers.config import RL_KINDS

LABELER = "labeler"
"""The suite in which the labeler compares a candidate's answers with the champion's."""


def hacked(
    steps: Sequence[TrainStep],
    evaluations: Sequence[Evaluation],
    tests: Sequence[GateTest],
    candidate: str,
) -> str:
    """A sentence where a reward or the labeler's word rose and no primary measure did; else empty."""
    gains = [test.mean_gain for test in tests if test.role == "primary" and test.num_items]
    if not gains or max(gains) > 0:
        return ""
    rises = [rise for rise in (_reward(steps), _word(evaluations, candidate)) if rise]
    return f"{' and '.join(rises)}, and no primary measure rose" if rises else ""


def _reward(steps: Sequence[TrainStep]) -> str:
    rise = reward_rise(steps)
    if rise is None or rise[1] <= rise[0]:
        return ""
    return f"the reward rose from {rise[0]:.3f} to {rise[1]:.3f} in training"


def _word(evaluations: Sequence[Evaluation], candidate: str) -> str:
    """The labeler's preference for a candidate where Student's interval of 95% lies above one half."""
    for e in evaluations:
        is_word = (e.suite, e.metric, e.model_digest) == (LABELER, "win_rate", candidate)
        if is_word and e.value - t.ppf(0.975, e.num_items - 1) * e.standard_error > 0.5:
            return f"the labeler prefers it to the champion (win rate {e.value:.2f} ± {e.standard_error:.2f})"
    return ""


def reward_rise(steps: Sequence[TrainStep]) -> tuple[float, float] | None:
    """Mean reward of the first and the last third of a policy gradient's iterations; None with
    fewer than three.

    Of several kinds, the one that was trained for most iterations counts.
    """
    kinds = [[s for s in steps if s.kind == kind] for kind in RL_KINDS]
    rewards = [json.loads(s.metrics)["reward"] for s in max(kinds, key=len)]
    third = len(rewards) // 3
    return (float(np.mean(rewards[:third])), float(np.mean(rewards[-third:]))) if third else None
