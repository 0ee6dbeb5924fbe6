"""Losses as sums with counts. Masked positions are removed, never multiplied by zero.

Shapes: B rows, P pairs, N selected tokens. A mean of means would overweight short rows, so callers
divide the sum by the count over the whole global batch. All functions are pure functions of tensors
in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PairLoss = Literal["sigmoid", "ipo", "robust"]
KlEstimator = Literal["k1", "k2", "k3", "k3_corrected"]


def row_sums(values_N: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the sum of each row's values, [B]. Row b has the next `counts[b]` values."""
    return torch.stack([part.sum() for part in torch.split(values_N, list(counts))])


def dpo_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    beta: float,
    kind: PairLoss = "sigmoid",
    preferred_P: Tensor | None = None,
) -> tuple[Tensor, int]:
    """Return (sum of losses, number of pairs) from the log-ratios of policy and reference, one per
    side.

    `sigmoid`: Rafailov et al. 2023, equation 7; equal policy and reference give ln 2 per pair. With
    `preferred_P`, the probability that the chosen side is better, the loss is the expected one
    (Mitchell's conservative DPO). `robust` corrects for label noise instead (Chowdhury et al. 2024,
    equation 12) and needs probabilities above 1/2. `ipo`: Azar et al. 2023, equation 17; the caller
    averages the log-ratios over each row.
    """
    margin_P = chosen_P - rejected_P
    count = margin_P.numel()
    if kind == "ipo":
        return ((margin_P - 1 / (2 * beta)) ** 2).sum(), count
    better_P, worse_P = -F.logsigmoid(beta * margin_P), -F.logsigmoid(-beta * margin_P)
    if preferred_P is None:
        return better_P.sum(), count
    if kind == "robust":
        return (
            (preferred_P * better_P - (1 - preferred_P) * worse_P) / (2 * preferred_P - 1)
        ).sum(), count
    return (preferred_P * better_P + (1 - preferred_P) * worse_P).sum(), count


def kto_loss(
    ratios_B: Tensor,
    desirable_B: Tensor,
    kl: float,
    beta: float,
    weights: tuple[float, float] = (1.0, 1.0),
) -> tuple[Tensor, int]:
    """Return (sum of KTO losses, number of rows): Ethayarajh et al. 2024, equation 8.

    `ratios_B` are log-ratios of policy and reference summed over each row. `desirable_B` is
    boolean. `kl` is the policy's distance from the reference on mismatched completions (at least
    0). `weights` are those of desirable and undesirable rows.
    """
    good_B = 1 - torch.sigmoid(beta * (ratios_B - kl))
    bad_B = 1 - torch.sigmoid(beta * (kl - ratios_B))
    losses_B = torch.where(desirable_B, weights[0] * good_B, weights[1] * bad_B)
    return losses_B.sum(), losses_B.numel()


def reward_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    weights_P: Tensor,
    margins_P: Tensor | None = None,
    centering: float = 0.0,
) -> Tensor:
    """Return the sum of weighted Bradley-Terry losses of rewards, [P] each.

    Ouyang et al. 2022, equation 1: the pairs of one prompt share a weight of 1, so that a ranking
    of nine texts does not outweigh one of two. Margins (Touvron et al. 2023, equation 2) are
    subtracted from the difference. `centering` times (chosen + rejected) squared keeps rewards near
    0 (Eisenstein et al. 2023).
    """
    difference_P = chosen_P - rejected_P - (0 if margins_P is None else margins_P)
    losses_P = -F.logsigmoid(difference_P) + centering * (chosen_P + rejected_P) ** 2
    return (weights_P * losses_P).sum()


def kl_terms(
    logps_N: Tensor, reference_N: Tensor, estimator: KlEstimator, behaviour_N: Tensor | None = None
) -> Tensor:
    """Return estimates of KL(policy, reference) at tokens sampled from the policy, [N] (Schulman
    2020).

    k1 is unbiased and can be negative; k2 is biased with the right gradient; k3 is unbiased and not
    negative, but has the gradient of the reverse KL. `k3_corrected` multiplies k3 by the ratio of
    the policy to the `behaviour` policy that sampled the tokens, so that value and gradient are
    unbiased (DeepSeek-V3.2, section 3.1).
    """
    difference_N = reference_N - logps_N
    if estimator == "k1":
        return -difference_N
    if estimator == "k2":
        return 0.5 * difference_N**2
    k3_N = torch.expm1(difference_N) - difference_N
    if estimator == "k3":
        return k3_N
    drawn_N = logps_N.detach() if behaviour_N is None else behaviour_N
    return torch.exp(logps_N - drawn_N) * k3_N


class PolicyTerms(NamedTuple):
    """Sums over tokens: the loss, how many ratios were clipped, and how far the policy has
    moved.
    """

    loss: Tensor
    clipped: Tensor
    moved: Tensor


def policy_loss(
    logps_N: Tensor,
    old_N: Tensor,
    advantages_N: Tensor,
    weights_N: Tensor,
    clip: tuple[float, float],
) -> PolicyTerms:
    """Return the clipped surrogate loss (Schulman et al. 2017, equation 7), summed with a weight
    for each of N.

    N are tokens, or whole completions with log-probabilities summed over each. `clip` is how far
    the ratio of new to old may be below and above 1. `moved` is the sum of the k3 estimates of
    KL(old, new).
    """
    log_ratio_N = logps_N - old_N
    ratio_N = torch.exp(log_ratio_N)
    held_N = torch.clamp(ratio_N, 1 - clip[0], 1 + clip[1])
    free_N, bound_N = -advantages_N * ratio_N, -advantages_N * held_N
    with torch.no_grad():
        moved = (torch.expm1(log_ratio_N) - log_ratio_N).sum()
        clipped = (bound_N > free_N).float().sum()
    return PolicyTerms((weights_N * torch.maximum(free_N, bound_N)).sum(), clipped, moved)


def value_loss(
    values_N: Tensor, old_N: Tensor, returns_N: Tensor, clip: float
) -> tuple[Tensor, int]:
    """Return (half the sum of squared errors, number of tokens). The error is the larger one of the
    value and of the value clipped around the old one.

    After Stiennon et al. 2020 and their code; `clip` 0 clips nothing.
    """
    errors_N = (values_N - returns_N) ** 2
    if clip > 0:
        held_N = old_N + torch.clamp(values_N - old_N, -clip, clip)
        errors_N = torch.maximum(errors_N, (held_N - returns_N) ** 2)
    return 0.5 * errors_N.sum(), values_N.numel()
