"""Optional CUDA kernels: flash-attention for packs, and liger-kernel for norms, rotary embeddings
and gated layers.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from infra.errors import UserError
from trainers.config import TrainConfig

EXTRAS = {
    "flash_attention": ("flash_attn", "flash-attention"),
    "liger_kernels": ("liger_kernel", "liger"),
}


def check_kernels(config: TrainConfig) -> None:
    """Raise `UserError` for kernels that cannot run on this machine, before a model is loaded."""
    for key, (package, extra) in EXTRAS.items():
        if not getattr(config, key):
            continue
        if not torch.cuda.is_available():
            raise UserError(f"train.{key}", True, "these kernels need CUDA.", "Set it to false.")
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"train.{key}",
                True,
                f"the package {package} is not installed.",
                f"Run: pip install 'ratchet-loop[{extra}]'",
            )


def with_kernels(model: Any, config: TrainConfig) -> Any:
    """Return the model with liger layers if configured. The output head is not replaced, because it
    computes trained positions only.
    """
    if config.liger_kernels:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(
            model=model, fused_linear_cross_entropy=False, cross_entropy=False
        )
    return model
