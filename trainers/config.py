"""The `[train]` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.config import Section


class TrainConfig(Section):
    """How the champion is trained on a generation's samples. Stage 0 is another code path and is refused."""

    steps: list[Literal["sft", "dpo"]] = Field(default=["sft", "dpo"], min_length=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    dpo_learning_rate: float = Field(default=5e-6, gt=0)
    dpo_beta: float = Field(default=0.1, gt=0)
    batch_tokens: int = Field(default=512, gt=0)
    """Tokens of one optimiser step, over all ranks."""
    micro_batch_size: int = Field(default=2, gt=0)
    """Rows (pairs for dpo) in one forward pass of one rank."""
    max_tokens: int = Field(default=384, ge=8)
    """Longest row; what is longer is cut at its end."""
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clipping: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 is autocast over float32 weights; auto uses it where the machine is fast at it."""
    zero_stage: Literal[1, 2, 3] = 2
    num_workers: int = Field(default=0, ge=0)
    """Ranks; 0 takes one a GPU, or one on a machine without GPUs."""
    threads_per_worker: int = Field(default=0, ge=0)
    """Torch threads of a rank on CPU; 0 shares the machine's cores among the ranks of a node."""
    timeout_s: int = Field(default=1800, gt=0)
    """How long ranks wait for each other before they give up."""
    max_failures: int = Field(default=1, ge=0)
    """Restarts of the worker group in one generation."""
