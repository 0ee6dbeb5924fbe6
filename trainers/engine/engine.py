"""The only module that uses DeepSpeed: create an engine for a module, step it, and read and set its
state.

Losses are normalised by us: DeepSpeed's gradient accumulation is off
(`managed_gradient_accumulation: false`), and a loss is a sum divided by the count over the whole
global batch.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.ops
import torch
import torch.distributed as dist
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
)
from torch import Tensor

from infra.artifacts import atomic_folder
from infra.cluster.connection import free_port
from trainers.config import TrainConfig
from trainers.models.adapters import merged_weights
from trainers.models.modules import PackedModel

MOMENTS = ("exp_avg", "exp_avg_sq")
WEIGHT, STEPS = "weight", "steps"


def prepare_environment(timeout_s: int) -> None:
    """Initialise DeepSpeed on torch's process group without compiling anything.

    On CPU, DeepSpeed would compile a C++ op (`deepspeed_shm_comm`) here. If such a build is killed,
    it leaves a lock on which every later run hangs.
    """
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    deepspeed.init_distributed(
        dist_backend=backend, timeout=timedelta(seconds=timeout_s), verbose=False
    )


@contextmanager
def one_rank(timeout_s: int) -> Iterator[None]:
    """Create a process group of this process alone, for the duration of the block."""
    alone = {
        "RANK": 0,
        "LOCAL_RANK": 0,
        "WORLD_SIZE": 1,
        "LOCAL_WORLD_SIZE": 1,
        "MASTER_PORT": free_port(),
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {key: str(value) for key, value in alone.items()}
    prepare_environment(timeout_s)
    try:
        yield
    finally:
        dist.destroy_process_group()


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """Return DeepSpeed's configuration. Values whose default has changed between versions are set
    explicitly.
    """
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": 10_000_000,
        "allgather_bucket_size": 10_000_000,
    }
    if config.zero_stage == 3:
        zero |= {"stage3_param_persistence_threshold": 100_000}
    if config.offload_optimizer:
        zero |= {"offload_optimizer": {"device": "cpu", "pin_memory": torch.cuda.is_available()}}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.gradient_clipping,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
        "bf16": {"enabled": config.resolved_precision == "bfloat16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


class Engine:
    """A module under ZeRO with torch's AdamW. (DeepSpeed's own Adam would compile an op.)"""

    def __init__(self, module: PackedModel, config: TrainConfig) -> None:
        self._config = config
        self._precision = config.resolved_precision
        exact_buffers = {
            name: buffer.clone()
            for name, buffer in module.named_buffers()
            if buffer.is_floating_point()
        }
        if self._precision == "bfloat16":
            module = module.to(torch.bfloat16)
        if config.activation_checkpointing:
            module.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        trainable = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trainable, lr=1e-4, weight_decay=config.weight_decay, fused=not config.offload_optimizer
        )
        self._engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=deepspeed_config(config)
        )
        self.device: torch.device = self._engine.device
        # DeepSpeed rounds buffers too; rounded rotary frequencies would shift every position.
        for name, buffer in module.named_buffers():
            if name in exact_buffers:
                buffer.data = exact_buffers[name].to(self.device)
        self._engine.train()
        self._offloaded = False

    @property
    def module(self) -> PackedModel:
        """The wrapped module."""
        module: PackedModel = self._engine.module
        return module

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return dist.get_rank()

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return dist.get_world_size()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the module's forward pass."""
        with self.autocast():
            return self._engine(*arguments, **options)

    def autocast(self) -> torch.autocast:
        """Return the autocast context of forward passes."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self._precision == "autocast"
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Turn gradients and dropout off, for the duration of the block."""
        self._engine.eval()
        with torch.no_grad():
            yield
        self._engine.train()

    @contextmanager
    def gathered(self) -> Iterator[PackedModel]:
        """Return the module with all weights on every rank, for sampling and export. Every rank
        must enter.
        """
        parameters = list(self.module.parameters())
        with deepspeed.zero.GatheredParameters(parameters, enabled=self._config.zero_stage == 3):
            yield self.module

    def backward(self, loss_sum: Tensor, global_count: float) -> None:
        """Add the gradient of `loss_sum / global_count`. It is scaled by the number of ranks first,
        because DeepSpeed averages over ranks.
        """
        self._engine.backward(loss_sum * (self.world_size / global_count))

    def step(self, learning_rate: float) -> float:
        """Apply the accumulated gradients; return the global gradient norm before clipping."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float(norm) if norm is not None else 0.0

    @property
    def dtype(self) -> str:
        """Dtype of the weights in forward passes; models that are compared with this one use it
        too.
        """
        return "bfloat16" if self._precision == "bfloat16" else "float32"

    @property
    def skipped_steps(self) -> int:
        """Number of updates that DeepSpeed skipped because a gradient overflowed."""
        return int(self._engine.skipped_steps)

    @property
    def facts(self) -> dict[str, Any]:
        """The actual settings of the engine, for the record."""
        return {
            "deepspeed": deepspeed_config(self._config),
            "deepspeed_version": deepspeed.__version__,
            "torch_version": torch.__version__,
            "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
            "precision": self._precision,
            "device": str(self.device),
            "ranks": self.world_size,
            "optimizer": "AdamW",
            "parameters": sum(getattr(p, "ds_numel", p.numel()) for p in self.module.parameters()),
            "trained_parameters": sum(getattr(p, "ds_numel", p.numel()) for _, p in self._named()),
        }

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks, in float64."""
        summed = values.detach().to(self.device, torch.float64).clone()
        dist.all_reduce(summed)
        return summed.cpu()

    def largest(self, value: int) -> int:
        """Return the maximum of a number over all ranks."""
        tensor = torch.tensor([value], device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's picklable value on every rank."""
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def _named(self) -> list[tuple[str, Any]]:
        return [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]

    def _flats(self) -> list[Tensor]:
        """Return the rank's float32 partitions, which the optimiser's state belongs to."""
        zero = self._engine.optimizer
        names = (
            "fp32_partitioned_groups_flat",
            "single_partition_of_fp32_groups",
            "fp32_groups_flat_partition",
        )
        for name in names:
            if hasattr(zero, name):
                return list(getattr(zero, name))
        raise AssertionError(f"no float32 partitions in {type(zero).__name__}")

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, full float32 tensor) of weights and moments, independent of ranks and ZeRO
        stage. Every rank must iterate.

        It needs at least one step: before, there are no moments.
        """
        inner = self._engine.optimizer.optimizer
        yield STEPS, torch.tensor([float(next(iter(inner.state.values()))["step"])])
        for name, parameter in self._named():
            yield f"{WEIGHT}/{name}", safe_get_full_fp32_param(parameter).float().cpu()
            for moment in MOMENTS:
                yield (
                    f"{moment}/{name}",
                    safe_get_full_optimizer_state(parameter, moment).float().cpu(),
                )

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `state` yielded, with any number of ranks and any ZeRO stage."""
        zero = self._engine.optimizer
        steps = tensors[STEPS]
        for flat in self._flats():
            moments = {moment: torch.zeros_like(flat) for moment in MOMENTS}
            device = torch.device("cpu") if self._config.offload_optimizer else self.device
            zero.optimizer.state[flat] = {"step": steps[0].clone().to(device), **moments}
        if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
            zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in self._named():
            weight = tensors[f"{WEIGHT}/{name}"].to(self.device)
            with deepspeed.zero.GatheredParameters(
                [parameter], modifier_rank=0, enabled=self._config.zero_stage == 3
            ):
                parameter.data.copy_(weight)
            safe_set_full_fp32_param(parameter, weight)
            for moment in MOMENTS:
                safe_set_full_optimizer_state(
                    parameter, tensors[f"{moment}/{name}"].to(self.device), moment
                )

    def offload(self) -> None:
        """Move optimiser state, gradients and master weights to the host, while others need the
        GPU. Does nothing on CPU.
        """
        if (
            self.device.type == "cuda"
            and not self._config.offload_optimizer
            and not self._offloaded
        ):
            self._engine.offload_states()
            self._offloaded = True

    def reload(self) -> None:
        """Undo `offload`."""
        if self._offloaded:
            self._engine.reload_states()
            self._offloaded = False

    def export(self, folder: Path, tokenizer: Any) -> None:
        """Write weights and tokenizer as a Hugging Face folder, atomically. Every rank must call
        it.
        """
        with self.gathered() as module:
            if self.rank == 0:
                module.packed = False
                with (
                    merged_weights(module.model) as (model, weights),
                    atomic_folder(folder) as scratch,
                ):
                    model.config.use_cache = True
                    model.save_pretrained(
                        scratch, state_dict={k: v.float().cpu() for k, v in weights.items()}
                    )
                    tokenizer.save_pretrained(scratch)
                module.packed = True
        dist.barrier()

    def close(self) -> None:
        """Free the memory of model and optimiser."""
        self._engine.destroy()
        del self._engine
        gc.collect()  # its hooks form reference cycles
