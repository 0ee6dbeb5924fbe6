"""A checksum that tells whether two processes hold the same weights, independent of their
layout.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_WHOLE_NUMBERS = {2: torch.int16, 4: torch.int32}
"""Integer dtypes by the number of bytes of a weight."""


def bit_sum(tensors: Mapping[str, Tensor]) -> int:
    """Return the sum of all weights' bit patterns, read as integers, modulo 2^64.

    Fusing, reordering and padding with zeros do not change it. Any single different weight changes
    it; several differences could cancel, which is unlikely.
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
