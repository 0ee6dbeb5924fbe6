"""Checks at run time that would otherwise be silent training errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from infra.console import warn
from infra.errors import StageError, UserError
from infra.models.language_model import chat_prompt

LOGP_TOLERANCE = 1e-4
"""Largest difference in nats between two computations of the same log-probability on the same pack.
"""


def warn_once(text: str) -> None:
    """Print a warning on rank 0 only."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        warn(text)


def parameter_digest(module: nn.Module) -> list[float]:
    """Return the sum and the sum of squares over all parameters, in float64."""
    totals = torch.zeros(2, dtype=torch.float64)
    for parameter in module.parameters():
        wide = parameter.detach().double()
        totals += torch.stack([wide.sum(), wide.square().sum()]).cpu()
    return [float(x) for x in totals]


def check_same_weights(module: nn.Module) -> None:
    """Raise `StageError` if this rank's weights differ from rank 0's or are not finite."""
    own = parameter_digest(module)
    if not all(map(torch.isfinite, torch.tensor(own))):
        raise StageError(
            "train", "loading", "the model has weights that are not finite (NaN or infinity)"
        )
    box = [own]
    if dist.is_initialized():
        dist.broadcast_object_list(box, src=0)
    if box[0] != own:
        raise StageError(
            "train", "loading", f"this rank's weights differ from rank 0's ({own} and {box[0]})"
        )


def check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Raise `UserError` if the tokenizer does not fit the model. Warn about a chat template that
    omits the start token.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    ).get_text_config()
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            "model.base",
            folder,
            f"the tokenizer has {len(tokenizer)} tokens and the model only {config.vocab_size}.",
            "Put the model's own tokenizer into its folder.",
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            "model.base",
            folder,
            "the tokenizer has no end token.",
            "Set eos_token in tokenizer_config.json; without it a model cannot learn to stop.",
        )
    start = tokenizer.bos_token_id
    adds_start = start is not None and list(tokenizer("a").input_ids)[:1] == [start]
    if not adds_start or not tokenizer.chat_template:
        return
    if not chat_prompt(tokenizer, "a").startswith(tokenizer.bos_token):
        name, token = folder.name, tokenizer.bos_token
        warn_once(f"the chat template of {name} omits the start token {token!r} of its tokenizer")
