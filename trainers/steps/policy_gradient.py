"""Policy gradients (PPO, GRPO, RLOO, REINFORCE++): sample, reward, score, update.

The kinds differ only in how advantages are computed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from infra.errors import UserError
from infra.models.folders import load_tokenizer
from trainers.batches.rows import Row, RowBuilder
from trainers.config import RlConfig
from trainers.engine.engine import Engine
from trainers.engine.guards import check_tokenizer
from trainers.models.modules import Policy, ScalarModel, load_policy, load_scalar
from trainers.rollouts.rewards import REWARD_MODEL, RewardRequest, model_rewards, weighted_sum
from trainers.rollouts.rollouts import Rollout, set_advantages, settle_truncated
from trainers.rollouts.vllm_sampler import check_vllm
from trainers.steps.base import (
    StepContext,
    StepResult,
    build_engine,
    learning_rate_at,
    require_finite,
)
from trainers.steps.language import make_language_row
from trainers.steps.policy_metrics import (
    IterationSums,
    PhaseTimer,
    add_rollouts,
    iteration_metrics,
    raise_alarm,
)
from trainers.steps.policy_sampling import PolicySampler, StepPrompt
from trainers.steps.policy_update import PolicyUpdater, UpdateIndex
from trainers.task import read_rows


class PolicyGradient:
    """A `TrainerStep` for all policy gradients; `task.kind` selects the advantages."""

    num_steps: int
    engines: dict[str, Engine]

    def __init__(self, context: StepContext) -> None:
        self.context, self.task, self.config = context, context.task, context.config
        self.rl: RlConfig = context.config.rl
        source = Path(self.task.source)
        if self.rl.sampler == "vllm":
            check_vllm()
        self.tokenizer = load_tokenizer(source, "train")
        check_tokenizer(self.tokenizer, source)
        self.prompts: list[dict[str, Any]] = self._usable_prompts()
        per_step = min(self.rl.prompts_per_step, len(self.prompts))
        self.per_step = max(per_step, context.config.min_items)
        self.num_steps = self.rl.num_steps or max(1, len(self.prompts) // self.per_step)
        self.policy = build_engine(source, self.config)
        self.engines = {"model": self.policy}
        if self.task.kind == "ppo":
            start = Path(self.task.reward_model or self.task.source)
            self.engines["critic"] = build_engine(start, self.config, scalar_seed=self.task.seed)
        reference = self._load_reference()
        self.reward_model = self._load_reward_model()
        self.updater = PolicyUpdater(
            context, self.engines, reference, self._read_passages(), self.num_steps
        )
        self.timer = PhaseTimer()
        self.sampler = PolicySampler(context, self.policy, self.tokenizer, self.timer)

    def _usable_prompts(self) -> list[dict[str, Any]]:
        """Return the data without the prompts that no reward source can reward."""
        rows = self.task.rows()
        if "verifier" in self.rl.rewards:
            rows = [row for row in rows if row.get("check")]
        if len(rows) < self.config.min_items:
            raise UserError(
                "train.rl.rewards",
                ", ".join(self.rl.rewards),
                f"{len(rows)} prompts can be rewarded, and each worker needs one.",
                "Add another reward source, or lower train.num_workers.",
            )
        return rows

    def _load_reference(self) -> Policy:
        reference = load_policy(self.task.reference_folder, self.policy.dtype)
        return reference.to(self.policy.device).eval()

    def _load_reward_model(self) -> ScalarModel | None:
        if REWARD_MODEL not in self.rl.rewards:
            return None
        model = load_scalar(Path(self.task.reward_model), dtype=self.policy.dtype)
        return model.to(self.policy.device).eval()

    def _read_passages(self) -> list[Row]:
        if self.rl.pretrain_coefficient == 0 or not self.task.passages:
            return []
        builder = RowBuilder(self.tokenizer, self.config.max_tokens)
        return [make_language_row(builder, data) for data in read_rows(self.task.passages)]

    def prepare(self) -> None:
        """Do nothing: the reference is a separate model."""

    def run(self, number: int) -> StepResult:
        """Run one iteration: sample, reward, and make `num_epochs * num_minibatches` updates."""
        self.timer.reset()
        prompts = self.iteration_prompts(number)
        rollouts = self.sample(prompts, number)
        with self.timer.phase("score"):
            self.reward(rollouts)
        sums = IterationSums()
        with self.timer.phase("train"):
            minibatches = self.updater.minibatches(rollouts)
            self.updater.score_tokens([p for packs in minibatches for p in packs], sums)
            sampler_gap = self.updater.check_start(rollouts, number)
            set_advantages(self.task.kind, rollouts, self.rl, self.policy.total)
            rate = learning_rate_at(
                number, self.num_steps, self.rl.learning_rate, self.config.warmup_share
            )
            norms = [
                self.updater.update(
                    packs, UpdateIndex(number, epoch * len(minibatches) + i), rate, sums
                )
                for epoch in range(self.rl.num_epochs)
                for i, packs in enumerate(minibatches)
            ]
        add_rollouts(rollouts, sums)
        metrics, loss, num_tokens = self._metrics(number, sums, len(norms), sampler_gap)
        return StepResult(
            loss=loss,
            grad_norm=max(norms),
            learning_rate=rate,
            num_tokens=num_tokens,
            row_ids=tuple(str(self.prompts[i]["id"]) for i in prompts),
            metrics=metrics,
        )

    def iteration_prompts(self, number: int) -> list[int]:
        """Return the indices of an iteration's prompts. All prompts are used once before any is
        repeated.
        """
        indices = []
        for i in range(number * self.per_step, (number + 1) * self.per_step):
            order = list(range(len(self.prompts)))
            random.Random(f"{self.task.seed}/{i // len(order)}").shuffle(order)  # noqa: S311
            indices.append(order[i % len(order)])
        return indices

    def sample(self, prompts: Sequence[int], number: int) -> list[Rollout]:
        """Return this rank's rollouts, sampled from the current policy."""
        rank, ranks = self.policy.rank, self.policy.world_size
        own = [StepPrompt(i, self.prompts[index]) for i, index in enumerate(prompts)][rank::ranks]
        updates_per_step = self.rl.num_epochs * self.rl.num_minibatches
        critic = self.engines.get("critic")
        if critic is not None:
            critic.offload()
        rollouts = self.sampler.sample(own, number, weight_version=number * updates_per_step)
        if critic is not None:
            critic.reload()
        return rollouts

    def reward(self, rollouts: Sequence[Rollout]) -> None:
        """Set each rollout's reward, the weighted sum of all sources.

        It is None if any source has no reward for it.
        """
        by_id = {str(data["id"]): data for data in self.prompts}
        requests = [self._reward_request(r, by_id[r.prompt_id]) for r in rollouts]
        rewards: dict[str, Sequence[float | None]] = {}
        for name in self.rl.rewards:
            if name == REWARD_MODEL:
                rewards[name] = self._model_rewards(rollouts)
            else:
                rewards[name] = self.context.rewarders[name].rewards(requests)
        for rollout, total in zip(rollouts, weighted_sum(rewards, self.rl.rewards), strict=True):
            rollout.reward = total
            settle_truncated(rollout, self.rl)

    def _reward_request(self, rollout: Rollout, data: dict[str, Any]) -> RewardRequest:
        ids = rollout.trajectory.completion_ids
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        check, reference = data.get("check") or "", data.get("reference") or ""
        return RewardRequest(data["prompt"], text, check, reference)

    def _model_rewards(self, rollouts: Sequence[Rollout]) -> list[float]:
        assert self.reward_model is not None, "it is loaded if train.rl.rewards names it"
        with self.policy.autocast():
            rows = [r.row for r in rollouts]
            return model_rewards(self.reward_model, rows, self.config.pack_tokens)

    def _metrics(
        self, number: int, sums: IterationSums, num_updates: int, sampler_gap: float
    ) -> tuple[dict[str, float], float, int]:
        """Return (metrics, mean loss, number of tokens) of an iteration, equal on all ranks.

        Raises `StageError` if a limit of `train.rl` is exceeded.
        """
        names = sorted(sums.values)
        totals = self.policy.total(torch.tensor([sums.values[n] for n in names])).tolist()
        total = dict(zip(names, totals, strict=True))
        metrics = iteration_metrics(total, num_updates) | {"sampler_gap": sampler_gap}
        raise_alarm(self.task, number, metrics, self.rl)
        loss = total["loss"] / num_updates
        require_finite(self.task, number, loss)
        metrics |= {f"{phase}_seconds": s for phase, s in self.timer.seconds.items()}
        return metrics, loss, int(total["num_tokens"])

    def export(self, folder: Path) -> None:
        """Write the policy as a model folder."""
        self.policy.export(folder, self.tokenizer)
