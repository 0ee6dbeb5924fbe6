"""Log-probabilities from hidden states, without the logits of all tokens in memory at once.

Shapes: N positions, C of them per chunk, H hidden features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK_TOKENS = 512
"""Positions whose logits, [C, V] in float32, are in memory at once."""


class TokenLogps(NamedTuple):
    """For each trained token its log-probability, [N], and the entropy of its distribution in nats,
    [N], detached.
    """

    logps_N: Tensor
    entropy_N: Tensor


def chunked_logps(
    head: Callable[[Tensor], Tensor],
    hidden_NH: Tensor,
    targets_N: Tensor,
    temperature: float,
    entropy: bool,
) -> TokenLogps:
    """Return the log-probabilities of targets, computed chunk by chunk in both passes.

    Logits are recomputed in the backward pass and not stored.
    """

    def chunk(hidden_CH: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
        logits_CV = head(hidden_CH).float()
        logits_CV = logits_CV if temperature == 1.0 else logits_CV / temperature
        norm_C = logits_CV.logsumexp(-1)
        logps_C = logits_CV.gather(1, targets_C.unsqueeze(1)).squeeze(1) - norm_C
        with torch.no_grad():
            p_CV = torch.exp(logits_CV - norm_C.unsqueeze(1)) if entropy else None
            entropy_C = (
                norm_C - (p_CV * logits_CV).sum(-1)
                if p_CV is not None
                else torch.zeros_like(norm_C)
            )
        return logps_C, entropy_C.detach()

    logps, entropies = [], []
    for hidden_CH, targets_C in zip(
        torch.split(hidden_NH, CHUNK_TOKENS), torch.split(targets_N, CHUNK_TOKENS), strict=True
    ):
        if torch.is_grad_enabled():
            logps_C, entropy_C = checkpoint(chunk, hidden_CH, targets_C, use_reentrant=False)
        else:
            logps_C, entropy_C = chunk(hidden_CH, targets_C)
        logps.append(logps_C)
        entropies.append(entropy_C)
    return TokenLogps(torch.cat(logps), torch.cat(entropies))


class _SummedLogps(torch.autograd.Function):
    """The sum of log-probabilities under a linear head; the gradient is computed in the forward
    pass.

    The gradient is the one-hot target minus the softmax, so logits need not be recomputed.
    """

    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor) -> Tensor:
        device = hidden_NH.device.type
        autocasts = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocasts else weight_VH.dtype
        weight = weight_VH.to(dtype)
        gradient_NH = torch.empty_like(hidden_NH)
        gradient_VH = torch.zeros_like(weight_VH, dtype=torch.float32)
        total = hidden_NH.new_zeros((), dtype=torch.float32)
        start = 0
        with torch.autocast(device, enabled=False):
            for targets_C in torch.split(targets_N, CHUNK_TOKENS):
                end = start + targets_C.numel()
                hidden_CH = hidden_NH[start:end].to(dtype)
                logits_CV = (hidden_CH @ weight.T).float()
                norm_C = logits_CV.logsumexp(-1)
                total += (logits_CV.gather(1, targets_C.unsqueeze(1)).squeeze(1) - norm_C).sum()
                ascent_CV = logits_CV.sub_(norm_C.unsqueeze(1)).exp_().neg_()
                ascent_CV[torch.arange(end - start, device=targets_C.device), targets_C] += 1
                ascent_CV = ascent_CV.to(dtype)
                gradient_NH[start:end] = ascent_CV @ weight
                gradient_VH += ascent_CV.T @ hidden_CH
                start = end
        ctx.save_for_backward(gradient_NH, gradient_VH.to(weight_VH.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> tuple[Tensor, Tensor, None]:
        gradient_NH, gradient_VH = ctx.saved_tensors
        return outputs[0] * gradient_NH, outputs[0] * gradient_VH, None


def summed_logps(head: Any, hidden_NH: Tensor, targets_N: Tensor) -> Tensor:
    """Return the sum of the targets' log-probabilities.

    If the head is not a plain linear layer, or its weights are on other ranks (ZeRO-3), this goes
    chunk by chunk through the module, whose hooks fetch the weights.
    """
    is_plain = (
        type(head) is nn.Linear
        and getattr(head, "bias", None) is None
        and not hasattr(head.weight, "ds_id")
    )
    if not is_plain or not torch.is_grad_enabled():
        return chunked_logps(head, hidden_NH, targets_N, 1.0, entropy=False).logps_N.sum()
    total: Tensor = _SummedLogps.apply(hidden_NH, head.weight, targets_N)  # type: ignore[no-untyped-call]
    return total
