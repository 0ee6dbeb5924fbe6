"""Losses as sums with counts. Masked positions are selected out, never multiplied by zero.

Shapes: B rows, T positions, N selected tokens, V vocabulary. A mean of means weights short rows too
much from the first step on; whoever calls divides the sum by the count over the whole global batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def selected_logps(logits_BTV: Tensor, ids_BT: Tensor, trained_BT: Tensor) -> Tensor:
    """Log-probability [N] of every token marked in `trained_BT`, predicted from the position before it.

    Position 0 has nothing before it and must not be marked. Rows come in order, so `trained_BT.sum(1)`
    splits the result by row.
    """
    chosen = trained_BT[:, 1:]
    logits_NV = logits_BTV[:, :-1][chosen].float()
    targets_N = ids_BT[:, 1:][chosen]
    return -F.cross_entropy(logits_NV, targets_N, reduction="none")


def row_sums(values_N: Tensor, trained_BT: Tensor) -> Tensor:
    """Sum of the selected values of each row, [B]."""
    parts = torch.split(values_N, trained_BT.sum(1).tolist())
    return torch.stack([part.sum() for part in parts])


def sft_loss(logits_BTV: Tensor, ids_BT: Tensor, trained_BT: Tensor) -> tuple[Tensor, int]:
    """(sum of negative log-likelihoods, number of trained tokens)."""
    logps_N = selected_logps(logits_BTV, ids_BT, trained_BT)
    return -logps_N.sum(), logps_N.numel()


def dpo_loss(
    chosen_B: Tensor, rejected_B: Tensor, chosen_reference_B: Tensor, rejected_reference_B: Tensor, beta: float
) -> tuple[Tensor, int]:
    """(sum of sigmoid DPO losses, number of pairs) from row log-probabilities.

    Rafailov et al. 2023, equation 7. Equal policy and reference give ln 2 a pair.
    """
    margin_B = (chosen_B - chosen_reference_B) - (rejected_B - rejected_reference_B)
    return -F.logsigmoid(beta * margin_B).sum(), margin_B.numel()
