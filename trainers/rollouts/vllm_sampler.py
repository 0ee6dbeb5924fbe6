"""Sampling with vLLM in a separate process next to each rank, with weights that are copied and
verified.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from infra.errors import StageError, UserError
from trainers.rollouts.sampler import Finish, SampleRequest, SamplingLimits, Trajectory
from trainers.rollouts.weight_checksum import bit_sum

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (shared memory, where the system has it)


def check_vllm() -> None:
    """Raise `UserError` if vLLM is not installed, before a model is loaded."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "train.rl.sampler",
            "vllm",
            "the package vllm is not installed.",
            "Run: pip install 'ratchet-loop[vllm]', or set it to transformers.",
        )


class VllmSampler:
    """A sampler with its own copy of the policy, which `take_weights` updates before each
    iteration.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        end_id: int,
        limits: SamplingLimits,
        max_tokens: int,
        memory_share: float,
    ) -> None:
        _set_spawn_method()
        from vllm import LLM

        self._end_id, self._limits = end_id, limits
        self._llm: Any = LLM(
            model=str(folder),
            dtype=dtype,
            max_model_len=max_tokens,
            gpu_memory_utilization=memory_share,
            logprobs_mode="processed_logprobs",  # after the temperature, as they are sampled
            generation_config="vllm",  # ignore the model's own top-k and top-p
            worker_extension_cls="trainers.rollouts.vllm_worker.HeldWeights",
            disable_log_stats=True,
            enforce_eager=True,  # CUDA graphs would keep using the old weights
            seed=0,
        )

    def take_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the weights by those of the trainer, by name.

        Raises `StageError` if vLLM's weights are not bit-identical afterwards.
        """
        own = _without_copies(tensors)
        with tempfile.TemporaryDirectory(
            dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        ) as folder:
            save_file(own, Path(folder) / "model.safetensors", metadata={"format": "pt"})
            held = self._llm.collective_rpc("take_weights", args=(folder,))
        self._llm.reset_prefix_cache()
        if any(number != bit_sum(own) for number in held):
            raise StageError(
                "train", "vLLM", "its weights differ from the trainer's after an update"
            )

    def sample(self, requests: Sequence[SampleRequest], weight_version: int) -> list[Trajectory]:
        """Return one trajectory per request, in order."""
        prompts = [{"prompt_token_ids": list(r.prompt_ids)} for r in requests]
        outputs = self._llm.generate(
            prompts, [self._parameters(r) for r in requests], use_tqdm=False
        )
        return [
            self._trajectory(r, o.outputs[0], weight_version)
            for r, o in zip(requests, outputs, strict=True)
        ]

    def _parameters(self, request: SampleRequest) -> Any:
        from vllm import SamplingParams

        limits = self._limits
        return SamplingParams(
            seed=request.seed,
            temperature=limits.temperature,
            max_tokens=limits.max_new_tokens,
            stop=list(limits.stop) or None,
            ignore_eos=True,
            stop_token_ids=[self._end_id],
            logprobs=0,
            detokenize=bool(limits.stop),
        )

    def _trajectory(self, request: SampleRequest, output: Any, weight_version: int) -> Trajectory:
        logps = tuple(
            float(at[token].logprob)
            for token, at in zip(output.token_ids, output.logprobs, strict=True)
        )
        finish: Finish = "length"
        if output.finish_reason == "stop":
            finish = "stop" if isinstance(output.stop_reason, str) else "end"
        return Trajectory(
            request.prompt_ids, tuple(output.token_ids), logps, finish, weight_version
        )


def _set_spawn_method() -> None:
    """Make vLLM start its process by `spawn`, so that it does not inherit the trainer's rank."""
    os.environ["VLLM_WORKER_MULTIPROCESSING_METHOD"] = "spawn"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"


def _without_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each weight once: a tied head is the same tensor as the embedding."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            own[name] = tensor.detach().cpu().contiguous()
    return own
