"""The one DeepSpeed file: start an engine on a model, step it, take the weights out again.

We own the normalisation: gradient accumulation is not DeepSpeed's (`managed_gradient_accumulation:
false`), and a loss arrives as a sum divided by the count over the whole global batch.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.ops
import torch
import torch.distributed as dist
from torch import Tensor

from infra.artifacts import atomic_folder
from infra.models import fast_bfloat16, load_model, load_tokenizer
from trainers.config import TrainConfig


def prepare_environment(timeout_s: int) -> None:
    """Join DeepSpeed to the process group that torch has started, without compiling anything.

    On CPU DeepSpeed would build a C++ op (`deepspeed_shm_comm`) here, and a build that was killed
    leaves a lock on which every later run hangs.
    """
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    deepspeed.init_distributed(dist_backend=backend, timeout=timedelta(seconds=timeout_s), verbose=False)


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """What DeepSpeed is told; everything whose default changed between versions is spelled out."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.gradient_clipping,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": False,
            "contiguous_gradients": True,
            "reduce_bucket_size": 10_000_000,
            "allgather_bucket_size": 10_000_000,
        },
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def learning_rate_at(step: int, num_steps: int, peak: float, warmup_share: float) -> float:
    """Linear warm-up to `peak`, then linear decay to a tenth of it at the last step."""
    warmup = max(1, round(warmup_share * num_steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (num_steps - 1 - step) / max(1, num_steps - warmup)
    return peak * (0.1 + 0.9 * left)


class Engine:
    """A model under ZeRO with an AdamW of torch (a configured Adam would compile an op)."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self._config = config
        self.tokenizer = load_tokenizer(folder, "train")
        model = load_model(folder, "train")
        model.config.use_cache = False
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=deepspeed_config(config))
        self.device = self._engine.device
        self._autocast = config.precision == "bfloat16" or (config.precision == "auto" and fast_bfloat16())

    @property
    def rank(self) -> int:
        """Place of this process among the ranks."""
        return dist.get_rank()

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return dist.get_world_size()

    def logits(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """[B, T, V] of a padded batch."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            output = self._engine(input_ids=ids_BT.to(self.device), attention_mask=mask_BT.to(self.device))
        logits: Tensor = output.logits
        return logits

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Forward passes inside the block leave no gradients, and dropout is off."""
        self._engine.eval()
        with torch.no_grad():
            yield
        self._engine.train()

    def backward(self, loss_sum: Tensor, global_count: int) -> None:
        """Add the gradient of `loss_sum / global_count`. DeepSpeed averages over ranks, so it is scaled up first."""
        self._engine.backward(loss_sum * (self.world_size / global_count))

    def step(self, learning_rate: float) -> float:
        """Apply the accumulated gradients; the global gradient norm before clipping."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float(norm) if norm is not None else 0.0

    def total(self, value: float) -> float:
        """The sum of a number over all ranks."""
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return float(tensor)

    def export(self, folder: Path) -> None:
        """Write weights and tokenizer as a Hugging Face folder, whole or not at all; every rank must call it."""
        module = self._engine.module
        parameters = list(module.parameters())
        with deepspeed.zero.GatheredParameters(parameters, enabled=self._config.zero_stage == 3):
            if self.rank == 0:
                module.config.use_cache = True
                with atomic_folder(folder) as scratch:
                    module.save_pretrained(scratch, state_dict={k: v.cpu() for k, v in module.state_dict().items()})
                    self.tokenizer.save_pretrained(scratch)
        dist.barrier()

    def close(self) -> None:
        """Let go of the model and the optimiser's memory."""
        self._engine.destroy()
        del self._engine
        gc.collect()  # its hooks refer to it in circles
