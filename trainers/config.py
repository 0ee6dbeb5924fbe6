"""The `[train]` section of a recipe and what is below it, one section for each kind of step."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from infra.config import Section
from infra.models.folders import fast_bfloat16

Reference = Literal["sft", "anchor"]
PREFERENCE_KINDS = ("reward_model", "dpo", "kto")
RL_KINDS = ("ppo", "grpo", "rloo", "reinforce_pp")
REWARD_SOURCES = ("reward_model", "verifier", "judge")
BUILT_IN = ("pretrain", "sft", *PREFERENCE_KINDS, *RL_KINDS)


class TrainingSchedule(Section):
    """Learning rate and number of epochs of one kind of step."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate, after a linear warm-up and before a linear decay to a tenth of it."""
    epochs: int = Field(default=1, gt=0)
    """Number of passes over the data."""


class PretrainConfig(TrainingSchedule):
    """Continued pretraining on passages."""


class SftConfig(TrainingSchedule):
    """Supervised fine-tuning on demonstrations, and on passages if `pretrain` is not a step."""


class RewardModelConfig(TrainingSchedule):
    """A reward model on preferences, initialised from the current policy."""

    learning_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate; the schedule is that of `train.sft.learning_rate`."""
    margin: float = Field(default=0.0, ge=0)
    """Factor on a pair's margin (the labeler's log-odds, or 1 for a verified pair) that the reward
    difference must exceed; 0 uses no margin."""
    centering: float = Field(default=0.01, ge=0)
    """Weight of the squared sum of a pair's rewards in the loss, which keeps rewards near 0."""


class DpoConfig(TrainingSchedule):
    """Direct preference optimisation."""

    learning_rate: float = Field(default=5e-6, gt=0)
    """Peak learning rate; the schedule is that of `train.sft.learning_rate`."""
    loss: Literal["sigmoid", "ipo", "robust"] = "sigmoid"
    """Loss: `sigmoid` (DPO), `ipo`, or `robust` (corrects for label noise)."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the penalty for leaving the reference: the factor on log-ratios, per nat."""
    smoothed: bool = False
    """Use the labeler's probability that the chosen side is better as a soft label. `sigmoid` only;
    `robust` always uses it."""
    reference: Reference = "sft"
    """Reference model: `sft` is the result of the last sft or pretrain step before this one (the
    champion if there is none), `anchor` is generation 0."""


class KtoConfig(TrainingSchedule):
    """Kahneman-Tversky optimisation: each completion is desirable or undesirable."""

    learning_rate: float = Field(default=5e-6, gt=0)
    """Peak learning rate; the schedule is that of `train.sft.learning_rate`."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the penalty for leaving the reference: the factor on log-ratios, per nat."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of desirable completions in the loss."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of undesirable completions in the loss."""
    reference: Reference = "sft"
    """Reference model; see `train.dpo.reference`."""


class RlConfig(Section):
    """Policy gradients: ppo, grpo, rloo and reinforce_pp."""

    learning_rate: float = Field(default=1e-6, gt=0)
    """Peak learning rate of the policy; the schedule is that of `train.sft.learning_rate`."""
    critic_learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate of the critic (ppo only)."""
    rewards: dict[str, float] = Field(default={"reward_model": 1.0}, min_length=1)
    """Weight of each reward source: `reward_model` (of this generation), `verifier`, `judge`, or
    your own `module:Class`."""
    prompts_per_step: int = Field(default=8, gt=0)
    """Number of prompts per iteration, over all ranks."""
    num_completions: int = Field(default=4, gt=0)
    """Number of completions per prompt; grpo and rloo need at least 2."""
    num_steps: int = Field(default=0, ge=0)
    """Number of iterations of sampling and training; 0 makes one pass over the prompts."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Longest completion, in tokens."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature of completions."""
    stop: list[str] = []
    """Strings that end a completion, in addition to the end token."""
    sampler: Literal["transformers", "vllm"] = "transformers"
    """What generates completions: the policy itself (`transformers`), or `vllm` (the extra
    `vllm`)."""
    sampler_memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of a GPU's memory that vLLM uses."""
    truncated: Literal["keep", "drop", "penalise"] = "keep"
    """What to do with a completion that reaches `max_new_tokens`: `keep` it as it is, `drop` it, or
    `penalise` it with `truncated_reward`."""
    truncated_reward: float = -1.0
    """Reward of a truncated completion with `truncated = "penalise"`, in the unit of the
    rewards."""
    num_epochs: int = Field(default=1, gt=0)
    """Number of passes over the completions of one iteration."""
    num_minibatches: int = Field(default=1, gt=0)
    """Number of optimiser steps per pass over one iteration's completions."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """Clip range of the ratio of new to old probability below 1: the ratio counts as at least 1 -
    `clip_low`."""
    clip_high: float = Field(default=0.2, gt=0)
    """Clip range of the ratio of new to old probability above 1: the ratio counts as at most 1 +
    `clip_high`."""
    value_clip: float = Field(default=0.2, ge=0)
    """Clip range of the critic's value around its old value in the value loss, in the unit of the
    rewards (ppo only); 0 clips nothing."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount factor per token (ppo and reinforce_pp)."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation, the decay factor per token (ppo only)."""
    kl_coefficient: float = Field(default=0.05, ge=0)
    """Weight of the KL penalty to the reference, per nat; 0 applies none."""
    kl_in: Literal["auto", "reward", "loss"] = "auto"
    """Where the KL penalty is applied: in the `reward` or in the `loss`. `auto` is `loss` for grpo,
    else `reward`."""
    kl_estimator: Literal["k1", "k2", "k3", "k3_corrected"] = "k3_corrected"
    """KL estimator for a penalty in the loss; in the reward it is always k1."""
    scaled: bool = True
    """Divide grpo advantages by the standard deviation of the group."""
    ratio: Literal["auto", "token", "completion"] = "auto"
    """Whether the ratio of new to old probability is per `token` or per `completion`. `auto` is
    `completion` for rloo, else `token`."""
    weigh: Literal["token", "completion"] = "token"
    """What the loss is averaged over with ratios per token: all tokens (`token`), or the mean of
    each completion (`completion`)."""
    pretrain_coefficient: float = Field(default=0.0, ge=0)
    """Weight of a language-model loss on passages, one per completion, added to each update
    (PPO-ptx); 0 adds none."""
    reference: Reference = "sft"
    """Reference model; see `train.dpo.reference`."""
    max_kl: float = Field(default=10.0, gt=0)
    """Largest KL to the reference, in nats per completion; above it training stops with an
    error."""
    min_entropy: float = Field(default=0.0, ge=0)
    """Smallest entropy of the policy, in nats per token; below it training stops with an error."""
    max_clipped: float = Field(default=0.9, gt=0, le=1)
    """Largest share of clipped ratios; above it training stops with an error."""
    max_sampler_gap: float = Field(default=0.2, gt=0)
    """Largest mean difference between the log-probabilities of sampler and trainer, in nats per
    token; above it training stops with an error."""
    min_length: float = Field(default=0.0, ge=0)
    """Smallest mean length of completions, in tokens; below it training stops with an error."""


class TrainConfig(Section):
    """How the champion is trained on the samples of one generation."""

    steps: list[str] = Field(default=["sft", "dpo"], min_length=1)
    """Training steps in order: pretrain, sft, reward_model, dpo, kto, ppo, grpo, rloo,
    reinforce_pp, or your own `module:Class`; each at most once."""
    pretrain: PretrainConfig = PretrainConfig()
    sft: SftConfig = SftConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    dpo: DpoConfig = DpoConfig()
    kto: KtoConfig = KtoConfig()
    rl: RlConfig = RlConfig()
    batch_tokens: int = Field(default=512, gt=0)
    """Tokens per optimiser step, over all ranks (supervised and preference steps)."""
    pack_tokens: int = Field(default=1024, gt=0)
    """Tokens per forward pass of one rank; rows are packed up to this number."""
    max_tokens: int = Field(default=384, ge=8)
    """Longest row, in tokens; longer rows lose their end."""
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the optimiser steps used for the linear warm-up of the learning rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW weight decay, a factor: each step shrinks the weights by this times the learning
    rate."""
    gradient_clipping: float = Field(default=1.0, gt=0)
    """Largest global gradient norm; larger gradients are scaled down to it."""
    precision: Literal["auto", "float32", "autocast", "bfloat16"] = "auto"
    """`autocast` computes in bfloat16 with float32 weights; `bfloat16` stores weights in bfloat16
    with float32 master weights. `auto` is `bfloat16` on CUDA, `autocast` on a CPU with fast
    bfloat16, else `float32`."""
    zero_stage: Literal[1, 2, 3] = 2
    """DeepSpeed ZeRO stage: 1 shards optimiser state, 2 also gradients, 3 also weights. Stage 0 is
    refused."""
    offload_optimizer: bool = False
    """Keep the optimiser state in host memory."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    flash_attention: bool = False
    """Use flash-attention (needs CUDA and the extra `flash-attention`). Without it, the rows of a
    pack attend one after another."""
    liger_kernels: bool = False
    """Use Liger kernels for norms, rotary embeddings and gated layers (needs CUDA and the extra
    `liger`)."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of low-rank adapters (needs the extra `lora`), merged at the end; 0 trains all
    weights."""
    num_workers: int = Field(default=0, ge=0)
    """Number of ranks; 0 uses one per GPU, or one on a cluster without GPUs."""
    min_workers: int = Field(default=0, ge=0)
    """Smallest number of ranks to continue with when nodes are lost, at most `num_workers`; 0 keeps
    the number fixed."""
    threads_per_worker: int = Field(default=0, ge=0)
    """Torch threads per rank on CPU; 0 divides the cores of a node among its ranks."""
    timeout_s: int = Field(default=1800, gt=0)
    """Time that ranks wait for each other before they fail, in seconds."""
    max_failures: int = Field(default=1, ge=0)
    """Number of restarts of the worker group in one generation."""
    save_steps: int = Field(default=50, ge=0)
    """Number of steps between two resume points; 0 writes none."""

    @property
    def min_items(self) -> int:
        """Items that every optimiser step must have: one for each rank that there may be."""
        return max(1, self.num_workers)

    def effect(self) -> dict[str, Any]:
        """What decides the weights that come out, without steps that are not made and saving.

        A step of the user's own may read any section.
        """
        used = {"rl" if step in RL_KINDS else step for step in self.steps}
        is_own = any(step not in BUILT_IN for step in self.steps)
        unused = set[str]() if is_own else {"rl", *BUILT_IN} - used
        return self.model_dump(exclude={*unused, "save_steps"})

    @property
    def resolved_precision(self) -> str:
        """`float32`, `autocast` or `bfloat16`, by what this machine has where the recipe leaves it
        open.
        """
        if self.precision != "auto":
            return self.precision
        import torch

        if not fast_bfloat16():
            return "float32"
        return "bfloat16" if torch.cuda.is_available() else "autocast"

    @field_validator("steps")
    @classmethod
    def _known(cls, steps: list[str]) -> list[str]:
        for step in steps:
            if step not in BUILT_IN and ":" not in step:
                raise ValueError(
                    f"no such step: {step}. Known steps: {', '.join(BUILT_IN)},"
                    " or your own as module:Class"
                )
        if len(set(steps)) < len(steps):
            raise ValueError("a step is named twice; name each kind of step once")
        if set(steps) == {"reward_model"}:
            raise ValueError(
                "reward_model alone trains no candidate; add a step that trains the policy"
            )
        return steps

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        for source in self.rl.rewards:
            if source not in REWARD_SOURCES and ":" not in source:
                known = ", ".join(REWARD_SOURCES)
                raise ValueError(
                    f"no such source in rl.rewards: {source}. Known sources: {known},"
                    " or your own as module:Class"
                )
        needs_reward = (
            any(step in RL_KINDS for step in self.steps) and "reward_model" in self.rl.rewards
        )
        if needs_reward and "reward_model" not in self.steps:
            raise ValueError(
                "train.rl.rewards uses reward_model, which is not in train.steps; add it before"
            )
        if {"grpo", "rloo"} & set(self.steps) and self.rl.num_completions < 2:
            raise ValueError(
                "grpo and rloo compare completions; set train.rl.num_completions to 2 or more"
            )
        if self.min_workers > self.num_workers:
            raise ValueError(
                "train.min_workers is above train.num_workers;"
                " set num_workers to the largest number of ranks"
            )
        return self
