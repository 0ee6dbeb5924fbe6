"""The sampling phase of policy gradients: completions of prompts by the current policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from infra.records import content_key
from trainers.batches.rows import RowBuilder
from trainers.engine.engine import Engine
from trainers.models.adapters import merged_weights
from trainers.models.modules import PackedModel
from trainers.rollouts.rollouts import Rollout
from trainers.rollouts.sampler import (
    Sampler,
    SampleRequest,
    SamplingLimits,
    Trajectory,
    TransformersSampler,
)
from trainers.rollouts.vllm_sampler import VllmSampler
from trainers.steps.base import StepContext
from trainers.steps.policy_metrics import PhaseTimer


class StepPrompt(NamedTuple):
    """A prompt of one iteration: its position there, and its data row."""

    position: int
    data: Mapping[str, Any]


class PolicySampler:
    """Completes prompts with the policy itself, or with vLLM on a copy of its weights."""

    def __init__(
        self, context: StepContext, policy: Engine, tokenizer: Any, timer: PhaseTimer
    ) -> None:
        self._task, self._config, self._rl = context.task, context.config, context.config.rl
        self._policy, self._tokenizer, self._timer = policy, tokenizer, timer
        self._builder = RowBuilder(tokenizer, context.config.max_tokens)
        self._limits = SamplingLimits(
            self._rl.max_new_tokens, self._rl.temperature, tuple(self._rl.stop)
        )
        self._vllm = self._start_vllm() if self._rl.sampler == "vllm" else None

    def _start_vllm(self) -> VllmSampler:
        return VllmSampler(
            Path(self._task.source),
            self._policy.dtype,
            self._tokenizer.eos_token_id,
            self._limits,
            self._config.max_tokens + self._rl.max_new_tokens,
            self._rl.sampler_memory,
        )

    def sample(
        self, prompts: Sequence[StepPrompt], number: int, weight_version: int
    ) -> list[Rollout]:
        """Return `num_completions` rollouts of each prompt, for iteration `number`."""
        slots = [(prompt, k) for prompt in prompts for k in range(self._rl.num_completions)]
        requests = [self._request(prompt, k, number) for prompt, k in slots]
        trajectories = self._complete(requests, weight_version)
        return [
            Rollout(str(prompt.data["id"]), prompt.position, prompt.position + k, trajectory)
            for (prompt, k), trajectory in zip(slots, trajectories, strict=True)
        ]

    def _request(self, prompt: StepPrompt, k: int, number: int) -> SampleRequest:
        # The position is in the seed because a prompt can occur twice in an iteration, where one
        # pass over the prompts ends and the next one begins.
        key = content_key(
            self._task.seed, self._task.kind, number, prompt.position, prompt.data["id"], k
        )
        prompt_ids = tuple(self._builder.prompt(prompt.data["prompt"]))
        return SampleRequest(prompt_ids, int(key[:15], 16))

    def _complete(self, requests: Sequence[SampleRequest], weight_version: int) -> list[Trajectory]:
        if self._vllm is None:
            return self._complete_with_policy(requests, weight_version)
        with (
            self._gathered_policy() as module,
            self._timer.phase("sync"),
            merged_weights(module.model) as (_, weights),
        ):
            self._vllm.take_weights(weights)
        with self._timer.phase("complete"):
            return self._vllm.sample(requests, weight_version)

    def _complete_with_policy(
        self, requests: Sequence[SampleRequest], weight_version: int
    ) -> list[Trajectory]:
        with (
            self._policy.frozen(),
            self._gathered_policy() as module,
            self._policy.autocast(),
            self._timer.phase("complete"),
        ):
            module.packed = False
            sampler: Sampler = TransformersSampler(module.model, self._tokenizer, self._limits)
            trajectories = sampler.sample(requests, weight_version)
            module.packed = True
        return trajectories

    @contextmanager
    def _gathered_policy(self) -> Iterator[PackedModel]:
        """Return the policy with all its weights on this rank; gathering is timed as `sync`."""
        with ExitStack() as stack:
            with self._timer.phase("sync"):
                module = stack.enter_context(self._policy.gathered())
            yield module
