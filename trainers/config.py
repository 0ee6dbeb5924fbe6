"""The `[train]` section of a recipe and what is below it, one section for each kind of step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from infra.config import Section
from infra.models.folders import fast_bfloat16

Reference = Literal["sft", "anchor"]
PREFERENCE_KINDS = ("reward_model", "dpo", "kto")
RL_KINDS = ("ppo", "grpo", "rloo", "reinforce_pp")
REWARD_SOURCES = ("reward_model", "verifier", "judge")
BUILT_IN = ("pretrain", "sft", *PREFERENCE_KINDS, *RL_KINDS)


class Passes(Section):
    """How often a kind of step goes over its data, and how fast it learns."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """The highest, after a linear warm-up and before a linear decay to a tenth."""
    epochs: int = Field(default=1, gt=0)


class PretrainConfig(Passes):
    """Continued pretraining on passages."""


class SftConfig(Passes):
    """Supervised fine-tuning on demonstrations, and on passages too where `pretrain` is not a step."""


class RewardModelConfig(Passes):
    """A reward model on preferences. Its decoder starts as the policy's."""

    learning_rate: float = Field(default=2e-5, gt=0)
    margin: float = Field(default=0.0, ge=0)
    """What a pair's reward difference must exceed, times the labeler's log-odds for it."""
    centering: float = Field(default=0.01, ge=0)
    """Weight of the square of a pair's summed rewards, which keeps them around 0."""


class DpoConfig(Passes):
    """Direct preference optimisation."""

    learning_rate: float = Field(default=5e-6, gt=0)
    loss: Literal["sigmoid", "ipo", "robust"] = "sigmoid"
    beta: float = Field(default=0.1, gt=0)
    smoothed: bool = False
    """Use the labeler's probabilities as what they are, instead of taking the chosen side for
    right."""
    reference: Reference = "sft"
    """`sft`: the model that this generation's sft (or pretrain) left, or started from; `anchor`:
    generation 0."""


class KtoConfig(Passes):
    """Kahneman-Tversky optimisation: completions each called desirable or not."""

    learning_rate: float = Field(default=5e-6, gt=0)
    beta: float = Field(default=0.1, gt=0)
    desirable_weight: float = Field(default=1.0, gt=0)
    undesirable_weight: float = Field(default=1.0, gt=0)
    reference: Reference = "sft"


class RlConfig(Section):
    """Policy gradients: ppo, grpo, rloo and reinforce_pp."""

    learning_rate: float = Field(default=1e-6, gt=0)
    critic_learning_rate: float = Field(default=1e-5, gt=0)
    rewards: dict[str, float] = {"reward_model": 1.0}
    """Weight of each source: `reward_model` (of this generation), `verifier`, `judge`, or
    `module:Class`."""
    prompts_per_step: int = Field(default=8, gt=0)
    """Prompts of one iteration over all ranks."""
    num_completions: int = Field(default=4, gt=0)
    """Completions of each prompt; grpo and rloo need at least two."""
    num_steps: int = Field(default=0, ge=0)
    """Iterations of sampling and training; 0 is one pass over the prompts."""
    max_new_tokens: int = Field(default=64, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    stop: list[str] = []
    """Texts that end a completion, besides the end token."""
    sampler: Literal["transformers", "vllm"] = "transformers"
    """What completes prompts: the policy itself, or vLLM beside it (the extra `vllm`)."""
    sampler_memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of a GPU's memory that vLLM takes."""
    truncated: Literal["keep", "drop", "penalise"] = "keep"
    """What becomes of a completion that met no end: trained like others, left out, or given
    `truncated_reward`."""
    truncated_reward: float = -1.0
    num_epochs: int = Field(default=1, gt=0)
    num_minibatches: int = Field(default=1, gt=0)
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    value_clip: float = Field(default=0.2, ge=0)
    gamma: float = Field(default=1.0, gt=0, le=1)
    lam: float = Field(default=0.95, ge=0, le=1)
    kl_coefficient: float = Field(default=0.05, ge=0)
    kl_in: Literal["auto", "reward", "loss"] = "auto"
    """Where the penalty goes; auto is the reward, and the loss for grpo."""
    kl_estimator: Literal["k1", "k2", "k3", "k3_corrected"] = "k3_corrected"
    """The estimate in the loss; in the reward it is k1."""
    scaled: bool = True
    """grpo: divide by the group's standard deviation."""
    ratio: Literal["auto", "token", "completion"] = "auto"
    """Whether each token has a ratio of new to old probability, or a completion one; auto is a
    completion for rloo."""
    weigh: Literal["token", "completion"] = "token"
    """What the loss is averaged over where tokens have ratios: all tokens, or each completion's
    mean."""
    pretrain_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the language-model loss on as many passages, mixed into each update (PPO-ptx)."""
    reference: Reference = "sft"
    max_kl: float = Field(default=10.0, gt=0)
    """Nats per completion from the reference at which the run stops."""
    min_entropy: float = Field(default=0.0, ge=0)
    """Nats per token below which the run stops."""
    max_clipped: float = Field(default=0.9, gt=0, le=1)
    """Share of clipped tokens at which the run stops."""
    max_sampler_gap: float = Field(default=0.2, gt=0)
    """Nats a token, on average, by which sampler and trainer may differ."""
    min_length: float = Field(default=0.0, ge=0)
    """Mean tokens per completion below which the run stops."""


class TrainConfig(Section):
    """How the champion is trained on a generation's samples. Stage 0 is another code path and is
    refused.
    """

    steps: list[str] = Field(default=["sft", "dpo"], min_length=1)
    """In order: pretrain, sft, reward_model, dpo, kto, ppo, grpo, rloo, reinforce_pp, or your own
    `module:Class`."""
    pretrain: PretrainConfig = PretrainConfig()
    sft: SftConfig = SftConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    dpo: DpoConfig = DpoConfig()
    kto: KtoConfig = KtoConfig()
    rl: RlConfig = RlConfig()
    batch_tokens: int = Field(default=512, gt=0)
    """Tokens of one optimiser step, over all ranks."""
    pack_tokens: int = Field(default=1024, gt=0)
    """Tokens in one forward pass of one rank: as many rows as fit, laid end to end."""
    max_tokens: int = Field(default=384, ge=8)
    """Longest row; what is longer is cut at its end."""
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clipping: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "float32", "autocast", "bfloat16"] = "auto"
    """`autocast` computes in bfloat16 on float32 weights; `bfloat16` keeps weights so, with float32
    masters. auto: bfloat16 on CUDA, autocast on a CPU that is fast at it, else float32."""
    zero_stage: Literal[1, 2, 3] = 2
    offload_optimizer: bool = False
    """Keep optimiser state in the host's memory."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    flash_attention: bool = False
    """Needs CUDA and the extra `flash-attention`; else packed rows attend one after another."""
    liger_kernels: bool = False
    """Needs CUDA and the extra `liger`; faster norms, rotations and gated layers."""
    lora_rank: int = Field(default=0, ge=0)
    """Train low-rank adapters of this rank (needs peft) and merge them at the end; 0 trains all
    weights."""
    num_workers: int = Field(default=0, ge=0)
    """Ranks; 0 takes one a GPU, or one on a machine without GPUs."""
    min_workers: int = Field(default=0, ge=0)
    """Go on with as few when nodes are lost, and with more when they come back; 0 never changes
    their number."""
    threads_per_worker: int = Field(default=0, ge=0)
    """Torch threads of a rank on CPU; 0 shares the machine's cores among the ranks of a node."""
    timeout_s: int = Field(default=1800, gt=0)
    """How long ranks wait for each other before they give up."""
    max_failures: int = Field(default=1, ge=0)
    """Restarts of the worker group in one generation."""
    save_steps: int = Field(default=50, ge=0)
    """Optimiser steps between two points to resume from; 0 keeps none."""

    @property
    def min_items(self) -> int:
        """Items that every optimiser step must have: one for each rank that there may be."""
        return max(1, self.num_workers)

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
                    f"no such step: {step}. Known: {', '.join(BUILT_IN)}, or your own as module:Class"
                )
        if len(set(steps)) < len(steps):
            raise ValueError("a step is named twice; a recipe has each kind of step once")
        if set(steps) == {"reward_model"}:
            raise ValueError(
                "a reward model alone makes no candidate; add a step that trains the policy"
            )
        return steps

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        for source in self.rl.rewards:
            if source not in REWARD_SOURCES and ":" not in source:
                known = ", ".join(REWARD_SOURCES)
                raise ValueError(
                    f"no such source in rl.rewards: {source}. Known: {known}, or your own as module:Class"
                )
        needs_reward = (
            any(step in RL_KINDS for step in self.steps) and "reward_model" in self.rl.rewards
        )
        if needs_reward and "reward_model" not in self.steps:
            raise ValueError(
                "train.rl.rewards names reward_model, which is not among train.steps; add it before"
            )
        if {"grpo", "rloo"} & set(self.steps) and self.rl.num_completions < 2:
            raise ValueError(
                "grpo and rloo compare completions; set train.rl.num_completions to 2 or more"
            )
        if self.min_workers > self.num_workers:
            raise ValueError(
                "train.min_workers is above train.num_workers; set num_workers to the most there may be"
            )
        return self
