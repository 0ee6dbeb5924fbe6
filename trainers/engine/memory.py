"""Estimate of the memory that a rank needs for weights, gradients and optimiser state, before
loading.

The numbers follow Rajbhandari et al. 2020 (ZeRO), table 1, for AdamW with float32 master weights.
Activations are not included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open

from infra.errors import UserError
from trainers.config import TrainConfig

MASTER_AND_MOMENTS = 12
"""Bytes per parameter for the float32 master weight and Adam's two moments."""


@dataclass(frozen=True)
class RankMemory:
    """Bytes that one rank needs on its device and on the host."""

    device: int
    host: int


def parameter_count(folder: Path) -> int:
    """Return the number of parameters in a model folder, from the headers of its files."""
    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                shape = opened.get_slice(name).get_shape()
                size = 1
                for length in shape:
                    size *= length
                count += size
    return count


def rank_memory(
    num_parameters: int, config: TrainConfig, world_size: int, half: bool
) -> RankMemory:
    """Return what a rank needs under the recipe's ZeRO stage. `half`: weights and gradients in
    bfloat16.
    """
    width = 2 if half else 4
    weights = num_parameters * width / (world_size if config.zero_stage == 3 else 1)
    trained = num_parameters if config.lora_rank == 0 else num_parameters // 50
    gradients = trained * width / (world_size if config.zero_stage >= 2 else 1)
    optimiser = trained * MASTER_AND_MOMENTS / world_size
    if config.offload_optimizer:
        return RankMemory(int(weights + gradients), int(optimiser))
    return RankMemory(int(weights + gradients + optimiser), 0)


def free_memory() -> int:
    """Return the free bytes for this rank: of its GPU, or its share of the host's memory within the
    container's limit.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(_host_limits()) // ranks


def _host_limits() -> Iterator[int]:
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text().splitlines() if meminfo.exists() else []:
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        yield int(limit.read_text()) - int(used.read_text())
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_memory(folder: Path, config: TrainConfig) -> None:
    """Raise `UserError` if this rank cannot hold the model, with the required memory and a setting
    that would fit.
    """
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    half = config.resolved_precision == "bfloat16"
    count, free = parameter_count(folder), free_memory()
    needed = rank_memory(count, config, world_size, half).device
    if needed <= free:
        return
    problem = (
        f"{count / 1e6:,.0f} million parameters need {needed / 1e9:.1f} GB per rank,"
        f" activations not counted, and {free / 1e9:.1f} GB are free."
    )
    remedy = _remedy(count, config, world_size, half, free)
    raise UserError("train.zero_stage", config.zero_stage, problem, f"{remedy}.")


def _remedy(count: int, config: TrainConfig, world_size: int, half: bool, free: int) -> str:
    """Return the first setting that fits, with the smallest change first."""
    changes: list[dict[str, object]] = [
        {"zero_stage": 2},
        {"zero_stage": 3},
        {"zero_stage": 3, "offload_optimizer": True},
        {"zero_stage": 3, "precision": "bfloat16"},
        {"lora_rank": 16, "precision": "bfloat16"},
    ]
    for change in changes:
        tried = config.model_copy(update=change)
        size = rank_memory(count, tried, world_size, half or change.get("precision") == "bfloat16")
        if size.device <= free and (torch.cuda.is_available() or size.device + size.host <= free):
            return "It fits with " + ", ".join(
                f"train.{key} = {json.dumps(value)}" for key, value in change.items()
            )
    ranks = world_size
    sharded = config.model_copy(update={"zero_stage": 3})
    while ranks < 4096:
        ranks *= 2
        if rank_memory(count, sharded, ranks, half).device <= free:
            return f"It fits on {ranks} such ranks with train.zero_stage = 3"
    return "Choose a smaller model"
