"""Low-rank adapters (peft): added before training and merged into the weights for export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from infra.errors import UserError


def add_adapters(model: Any, rank: int, has_head: bool = False) -> Any:
    """Return the model with trainable adapters on every linear layer; its own weights are frozen.

    Rank 0 returns the model unchanged. A scalar head (`has_head`) is trained in full.
    """
    if rank == 0:
        return model
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UserError(
            "train.lora_rank",
            rank,
            "peft is not installed.",
            "Run: pip install 'ratchet-loop[lora]'",
        ) from None
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        modules_to_save=["score"] if has_head else None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # every rank, and a run that is resumed, must begin with the same ones
        return get_peft_model(model, config)


@contextmanager
def merged_weights(model: Any) -> Iterator[tuple[Any, dict[str, Tensor]]]:
    """Return (plain model, its weights) with adapters merged in, for the duration of the block."""
    if not hasattr(model, "merge_adapter"):
        yield model, model.state_dict()
        return
    plain = model.get_base_model()
    model.merge_adapter()
    weights = {
        name.replace(".base_layer.", ".").replace(".modules_to_save.default.", "."): tensor
        for name, tensor in plain.state_dict().items()
        if ".lora_" not in name and ".original_module." not in name
    }
    yield plain, weights
    model.unmerge_adapter()
