"""A number that says whether two processes hold the same weights, however they lay them out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_WHOLE_NUMBERS = {2: torch.int16, 4: torch.int32}
"""Integers as wide as a weight of that many bytes."""


def sum_of_bits(tensors: Mapping[str, Tensor]) -> int:
    """The sum of all weights' bit patterns, read as integers, modulo 2^64.

    Weights that are fused, reordered or padded with zeros have the same sum. Any one weight that
    differs changes it; that several differ and it stays is possible and unlikely.
    """
    total = 0
    for tensor in tensors.values():
        total += int(
            tensor.detach()
            .contiguous()
            .view(_WHOLE_NUMBERS[tensor.element_size()])
            .sum(dtype=torch.int64)
        )
    return total % 2**64
