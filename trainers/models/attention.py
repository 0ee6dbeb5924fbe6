"""Attention over packed rows: each row attends only to itself, and there is no padding.

Registered with transformers as `NAME`. The row lengths are a keyword argument of the model's
forward pass. No mask is built, so the cost is that of the rows and not quadratic in the pack.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "ratchet_ragged"


def ragged_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    row_lengths: tuple[int, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within rows of the given lengths.

    Query, key and value have shape [1, heads, T, D], the result [1, T, heads, D]. `attention_mask`
    is always None; it is part of transformers' signature. Raises `NotImplementedError` for models
    with soft-capped scores.
    """
    if softcap is not None:
        raise NotImplementedError(
            "this model caps its attention scores; packed attention does not support that"
        )
    repeats = query.shape[1] // key.shape[1]
    parts = []
    for q, k, v in zip(
        *(torch.split(x, list(row_lengths), dim=2) for x in (query, key, value)), strict=True
    ):
        window = None
        if sliding_window is not None and q.shape[2] > sliding_window:
            window = window_mask(q.shape[2], sliding_window, q.device)
        parts.append(
            F.scaled_dot_product_attention(
                q,
                k,
                v,
                window,
                dropout_p=dropout,
                is_causal=window is None,
                scale=scaling,
                enable_gqa=repeats > 1,
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """Return [T, T], True where a position sees itself and the `window - 1` positions before it."""
    position_T = torch.arange(length, device=device)
    back_TT = position_T[:, None] - position_T[None, :]
    return (back_TT >= 0) & (back_TT < window)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def register() -> None:
    """Register `NAME` with transformers."""
    AttentionInterface.register(NAME, ragged_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
