"""What is checked on every run, so that nothing is trained wrongly in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from infra.console import warn
from infra.errors import StageError, UserError
from infra.models.language_model import chat_prompt

SAME = 1e-4
"""Nats by which two computations of one log-probability may differ on the same pack."""


def warn_once(text: str) -> None:
    """A warning from one rank for all."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        warn(text)


def parameter_digest(module: nn.Module) -> list[float]:
    """Sums and sums of squares over all parameters in float64; two modules that differ differ here."""
    totals = torch.zeros(2, dtype=torch.float64)
    for parameter in module.parameters():
        wide = parameter.detach().double()
        totals += torch.stack([wide.sum(), wide.square().sum()]).cpu()
    return [float(x) for x in totals]


def same_on_all_ranks(module: nn.Module) -> None:
    """Raise `StageError` where this rank loaded other weights than rank 0."""
    found = parameter_digest(module)
    if not all(map(torch.isfinite, torch.tensor(found))):
        raise StageError("train", "loading", "the model has weights that are not finite")
    box = [found]
    if dist.is_initialized():
        dist.broadcast_object_list(box, src=0)
    if box[0] != found:
        raise StageError(
            "train", "loading", f"this rank's weights differ from rank 0's ({found} and {box[0]})"
        )


def check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Raise `UserError` for a tokenizer that is not the model's; name a template that drops the
    start token.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    ).get_text_config()
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            "model.base",
            folder,
            f"the tokenizer knows {len(tokenizer)} tokens and the model {config.vocab_size}.",
            "Put the model's own tokenizer into its folder.",
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            "model.base",
            folder,
            "the tokenizer has no end token.",
            "Set eos_token in tokenizer_config.json; no model learns to stop without one.",
        )
    start = tokenizer.bos_token_id
    adds_start = start is not None and list(tokenizer("a").input_ids)[:1] == [start]
    if (
        adds_start
        and tokenizer.chat_template
        and not chat_prompt(tokenizer, "a").startswith(tokenizer.bos_token)
    ):
        name, token = folder.name, tokenizer.bos_token
        warn_once(
            f"the chat template of {name} drops {token!r}, with which its tokenizer begins a text"
        )
