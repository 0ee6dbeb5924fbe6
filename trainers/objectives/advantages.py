"""Advantages from rewards: pure functions, one per algorithm.

Shapes: B completions, G completions of one prompt, T tokens of one completion. Rows have different
lengths and are given as lists of tensors without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EPSILON = 1e-8
Total = Callable[[Tensor], Tensor]
"""Returns the sum of a tensor over all ranks."""


def token_rewards(reward: float, kl_T: Tensor, coefficient: float) -> Tensor:
    """Return the reward of each token of a completion: minus its KL term, plus the reward at the
    last one.
    """
    rewards_T = -coefficient * kl_T
    rewards_T[-1] += reward
    return rewards_T


def gae(rewards_T: Tensor, values_T: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Return (advantages, returns), [T] each, by generalised advantage estimation (Schulman et al.
    2016, equation 16).

    `values_T[t]` is the value before token t; the value after the last token is 0.
    """
    advantages_T = torch.empty_like(rewards_T)
    following, next_value = 0.0, 0.0
    for t in reversed(range(rewards_T.numel())):
        delta = float(rewards_T[t]) + gamma * next_value - float(values_T[t])
        following = delta + gamma * lam * following
        advantages_T[t] = following
        next_value = float(values_T[t])
    return advantages_T, advantages_T + values_T


def returns_to_go(rewards_T: Tensor, gamma: float = 1.0) -> Tensor:
    """Return the discounted sum of the rewards from each token on, [T]."""
    return gae(rewards_T, torch.zeros_like(rewards_T), gamma, 1.0)[0]


def group_relative(rewards_G: Tensor, scaled: bool = True) -> Tensor:
    """Return GRPO advantages (Shao et al. 2024): reward minus the group's mean, divided by its
    standard deviation if `scaled`.

    Without scaling this is Dr. GRPO (Liu et al. 2025). A group without variance gives zeros.
    """
    centred_G = rewards_G - rewards_G.mean()
    if not is_varied(rewards_G):
        return torch.zeros_like(rewards_G)
    return centred_G / (rewards_G.std() + 1e-4) if scaled else centred_G


def leave_one_out(rewards_G: Tensor) -> Tensor:
    """Return RLOO advantages (Ahmadian et al. 2024): reward minus the mean of the other
    completions.
    """
    count = rewards_G.numel()
    if count < 2:
        return torch.zeros_like(rewards_G)
    return (rewards_G - rewards_G.mean()) * count / (count - 1)


def is_varied(rewards_G: Tensor) -> bool:
    """Whether a group's rewards differ; otherwise nothing can be learned from it."""
    return bool(rewards_G.numel() > 1 and (rewards_G.max() - rewards_G.min()) > EPSILON)


def whiten(rows: Sequence[Tensor], total: Total | None = None) -> list[Tensor]:
    """Return rows normalised to mean 0 and variance 1 over all tokens of all rows (and all ranks,
    with `total`).

    The variance is the sample variance (n - 1).
    """
    flat_N = torch.cat(list(rows)).double()
    add = total or (lambda tensor: tensor)
    count, summed = add(
        torch.tensor([float(flat_N.numel()), float(flat_N.sum())], dtype=torch.float64)
    ).tolist()
    mean = summed / count
    squares = float(add(((flat_N - mean) ** 2).sum().reshape(1)))
    scale = (squares / max(count - 1, 1) + EPSILON) ** -0.5
    return [((row.double() - mean) * scale).to(row.dtype) for row in rows]
