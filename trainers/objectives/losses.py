"""Losses as sums with counts. Masked positions are selected out, never multiplied by zero.

Shapes: B rows, P pairs, N selected tokens. A mean of means weights short rows too much from the
first step on; whoever calls divides the sum by the count over the whole global batch. Everything
here is a pure function of tensors, in float32.
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
    """Sum of each row's values, [B]; the values of row b are `counts[b]` in a row."""
    return torch.stack([part.sum() for part in torch.split(values_N, list(counts))])


def dpo_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    beta: float,
    kind: PairLoss = "sigmoid",
    preferred_P: Tensor | None = None,
) -> tuple[Tensor, int]:
    """(sum of losses, number of pairs) from log-ratios of policy and reference, summed over a row
    for each side.

    `sigmoid`: Rafailov et al. 2023, equation 7; equal policy and reference give ln 2 a pair. With
    `preferred_P`, the probability that the chosen side is the better one, it is smoothed: the
    expected loss over who is right (Mitchell's conservative DPO). `robust` divides the noise out
    instead (Chowdhury et al. 2024, equation 12) and needs probabilities above 1/2. `ipo`: Azar et
    al. 2023, equation 17, with rows averaged by the caller.
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
    """(sum of KTO losses, number of rows): Ethayarajh et al. 2024, equation 8.

    `ratios_B` are log-ratios of policy and reference summed over a row, `desirable_B` is boolean,
    `kl` the policy's distance from the reference on mismatched completions (not below 0), `weights`
    those of desirable and undesirable rows.
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
    """Sum of weighted Bradley-Terry losses of rewards, [P] each.

    Ouyang et al. 2022, equation 1: the pairs of one prompt share a weight of 1, so that a ranking
    of nine texts does not outweigh one of two. Margins (Touvron et al. 2023, equation 2) are what
    the difference must exceed. `centering` times (chosen + rejected) squared keeps rewards around 0
    (Eisenstein et al. 2023).
    """
    difference_P = chosen_P - rejected_P - (0 if margins_P is None else margins_P)
    losses_P = -F.logsigmoid(difference_P) + centering * (chosen_P + rejected_P) ** 2
    return (weights_P * losses_P).sum()


def kl_terms(
    logps_N: Tensor, reference_N: Tensor, estimator: KlEstimator, behaviour_N: Tensor | None = None
) -> Tensor:
    """Estimates of KL(policy, reference) at tokens drawn from the policy, [N] (Schulman 2020).

    k1 is unbiased and may be negative; k2 is biased with the right gradient; k3 is unbiased, not
    negative, and has the gradient of the other direction's KL. `k3_corrected` multiplies k3 by the
    ratio of the policy to the `behaviour` that drew the tokens, which makes value and gradient
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
    """Sums over tokens of what a clipped policy update is watched by."""

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
    """The clipped surrogate of Schulman et al. 2017, equation 7, summed with a weight for each of
    N.

    N are tokens, or, with log-probabilities summed over each, whole completions. `clip` is how far
    the ratio of new to old may fall below and rise above 1. `moved` is the sum of the k3 estimates
    of KL(old, new).
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
    """(half the sum of squared errors, number of tokens), of the worse of the value and the value
    held near the old.

    Stiennon et al. 2020 and its code; `clip` 0 holds nothing.
    """
    errors_N = (values_N - returns_N) ** 2
    if clip > 0:
        held_N = old_N + torch.clamp(values_N - old_N, -clip, clip)
        errors_N = torch.maximum(errors_N, (held_N - returns_N) ** 2)
    return 0.5 * errors_N.sum(), values_N.numel()
