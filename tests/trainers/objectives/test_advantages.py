from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.config import RlConfig
from trainers.objectives.advantages import (
    gae,
    group_relative,
    leave_one_out,
    returns_to_go,
    token_rewards,
    whiten,
)
from trainers.rollouts.rollouts import (
    Rollout,
    groups_without_variance,
    set_advantages,
    settle_truncated,
)
from trainers.rollouts.sampler import Trajectory

NUMBERS = st.lists(st.floats(-5, 5), min_size=1, max_size=12)


def tensor(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=10),
    st.floats(0.5, 1),
    st.floats(0, 1),
)
def test_gae_equals_its_definition(
    pairs: list[tuple[float, float]], gamma: float, lam: float
) -> None:
    rewards, values = np.array(pairs).T
    following = np.append(values[1:], 0.0)
    deltas = rewards + gamma * following - values
    expected = [
        sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, len(deltas)))
        for t in range(len(deltas))
    ]
    advantages, returns = gae(tensor(list(rewards)), tensor(list(values)), gamma, lam)
    assert np.allclose(advantages, expected, atol=1e-9)
    assert np.allclose(returns, np.array(expected) + values, atol=1e-9)


@given(NUMBERS)
def test_with_lambda_one_returns_are_what_follows(rewards: list[float]) -> None:
    _, returns = gae(tensor(rewards), tensor([0.3] * len(rewards)), 1.0, 1.0)
    assert np.allclose(returns, np.cumsum(rewards[::-1])[::-1], atol=1e-9)
    assert np.allclose(returns_to_go(tensor(rewards)), returns, atol=1e-9)


def test_the_reward_comes_at_the_last_token_and_the_penalty_at_each() -> None:
    assert token_rewards(2.0, torch.tensor([0.1, -0.2, 0.4]), 0.5).tolist() == pytest.approx(
        [-0.05, 0.1, 1.8]
    )


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=8))
def test_leave_one_out_is_the_distance_to_the_others_mean(rewards: list[int]) -> None:
    advantages = leave_one_out(tensor([float(r) for r in rewards]))
    for i, reward in enumerate(rewards):
        others = rewards[:i] + rewards[i + 1 :]
        assert float(advantages[i]) == pytest.approx(reward - sum(others) / len(others))


def test_group_relative_known_answers() -> None:
    advantages = group_relative(tensor([1.0, 0.0, 0.0, 1.0]))
    assert advantages.tolist() == pytest.approx(
        [0.5 / (0.57735 + 1e-4)] * 1 + [-0.8659] * 2 + [0.8659], abs=1e-3
    )
    assert group_relative(tensor([1.0, 0.0]), scaled=False).tolist() == [0.5, -0.5]
    assert group_relative(tensor([2.0, 2.0, 2.0])).tolist() == [0.0, 0.0, 0.0]


@given(st.lists(NUMBERS, min_size=2, max_size=5))
def test_whitening_gives_mean_zero_and_variance_one_over_all_ranks(rows: list[list[float]]) -> None:
    flat = np.concatenate(rows)
    tensors = [tensor(row) for row in rows]
    together = whiten(tensors)
    if flat.std() > 1e-3:
        joined = np.concatenate([row.numpy() for row in together])
        assert joined.mean() == pytest.approx(0, abs=1e-6)
        assert joined.std(ddof=1) == pytest.approx(1, abs=1e-3)
    other = torch.cat(tensors[1:])
    statistics = iter(
        [
            torch.tensor([float(other.numel()), float(other.sum())], dtype=torch.float64),
            ((other - flat.mean()) ** 2).sum().reshape(1),
        ]
    )
    on_one_rank = whiten(tensors[:1], total=lambda mine: mine + next(statistics))
    assert torch.allclose(on_one_rank[0], together[0], atol=1e-9)


def rollout(group: int, reward: float | None, length: int = 3, finish: str = "end") -> Rollout:
    zeros = torch.zeros(length)
    made = Rollout(
        f"p{group}", group, 0, Trajectory((1,), (2,) * length, (0.0,) * length, finish, 0), reward
    )  # type: ignore[arg-type]
    made.old_T, made.reference_T, made.values_T = zeros + 0.5, zeros, zeros
    return made


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rloo", "reinforce_pp"])
def test_completions_without_a_reward_are_left_out(kind: str) -> None:
    config = RlConfig(kl_coefficient=0.0)
    whole = [rollout(0, 1.0), rollout(0, 0.0), rollout(1, 3.0), rollout(1, 5.0)]
    gaps = [
        rollout(0, 1.0),
        rollout(0, None),
        rollout(0, 0.0),
        rollout(1, 3.0),
        rollout(1, None),
        rollout(1, 5.0),
    ]
    for rollouts in (whole, gaps):
        set_advantages(kind, rollouts, config, lambda tensor: tensor)
    kept = [r for r in gaps if r.is_used]
    for a, b in zip(whole, kept, strict=True):
        assert torch.allclose(a.advantages_T, b.advantages_T)
        assert a.advantages_T.numel() == 3
    assert all(r.advantages_T.numel() == 0 for r in gaps if not r.is_used)


def test_the_penalty_is_in_the_reward_for_all_but_grpo() -> None:
    config = RlConfig(kl_coefficient=1.0)
    near, far = rollout(0, 1.0), rollout(0, 1.0)
    far.old_T = far.old_T + 1
    for kind, expected in (("rloo", [3.0, -3.0]), ("grpo", [0.0, 0.0])):
        set_advantages(kind, [near, far], config, lambda tensor: tensor)
        assert [float(r.advantages_T[0]) for r in (near, far)] == pytest.approx(expected)


def test_groups_that_teach_nothing_are_counted() -> None:
    rollouts = [
        rollout(0, 1.0),
        rollout(0, 1.0),
        rollout(1, 0.0),
        rollout(1, 1.0),
        rollout(2, None),
        rollout(3, 1.0),
    ]
    assert groups_without_variance(rollouts) == 2


def test_what_met_no_end_is_kept_dropped_or_penalised() -> None:
    for how, expected in (("keep", 1.0), ("drop", None), ("penalise", -2.0)):
        cut, ended = rollout(0, 1.0, finish="length"), rollout(0, 1.0)
        config = RlConfig(truncated=how, truncated_reward=-2.0)  # type: ignore[arg-type]
        for one in (cut, ended):
            settle_truncated(one, config)
        assert (cut.reward, ended.reward) == (expected, 1.0)
