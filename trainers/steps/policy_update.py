"""The update phase of policy gradients: packs of rollouts, their losses, and optimiser steps.

The packs of an iteration are made once. Old log-probabilities are computed in the same packs that
are trained, so the ratios of the first pass are exactly 1, which is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.errors import StageError, UserError
from trainers.batches.packing import Pack, best_fit, make_pack, resize_bins
from trainers.batches.rows import Row
from trainers.engine.engine import Engine
from trainers.engine.guards import LOGP_TOLERANCE
from trainers.models.logprobs import TokenLogps
from trainers.objectives.losses import PolicyTerms, kl_terms, policy_loss, row_sums, value_loss
from trainers.rollouts.rollouts import Rollout, kl_is_rewarded
from trainers.steps.base import StepContext, learning_rate_at, require_finite
from trainers.steps.policy_metrics import IterationSums


@dataclass
class RolloutPack:
    """A pack of rollouts on this rank's device. `used_N` marks tokens of rollouts with a reward."""

    pack: Pack
    rollouts: list[Rollout]
    used_N: Tensor

    @property
    def used(self) -> list[Rollout]:
        """The rollouts with a reward."""
        return [r for r in self.rollouts if r.is_used]

    def tokens(self, name: str) -> Tensor:
        """Return a field of the used rollouts at each of their tokens, [N]."""
        rows = [getattr(r, name) for r in self.used]
        device = self.used_N.device
        return torch.cat(rows).to(device) if rows else torch.empty(0, device=device)


@dataclass(frozen=True)
class UpdateIndex:
    """Which update it is: iteration `number`, and the index of the update within it."""

    number: int
    index: int


@dataclass(frozen=True)
class _Counts:
    """Tokens and rollouts with a reward in a minibatch, over all ranks."""

    tokens: float
    rollouts: float


class PolicyUpdater:
    """Packs rollouts, scores their tokens, and updates the policy and the critic (ppo)."""

    def __init__(
        self,
        context: StepContext,
        engines: Mapping[str, Engine],
        reference: Callable[[Pack, float], TokenLogps],
        passages: Sequence[Row],
        num_steps: int,
    ) -> None:
        self._task, self._config, self._rl = context.task, context.config, context.config.rl
        self._policy, self._critic = engines["model"], engines.get("critic")
        self._reference, self._passages, self._num_steps = reference, passages, num_steps

    # Packs.

    def minibatches(self, rollouts: Sequence[Rollout]) -> list[list[RolloutPack]]:
        """Return the rank's rollouts as packs, for each minibatch; all ranks have equally many.

        The completions of a prompt are dealt out in turn, so a minibatch does not depend on the
        number of ranks.
        """
        parts: list[list[Rollout]] = [[] for _ in range(self._rl.num_minibatches)]
        for rollout in rollouts:
            parts[rollout.deal % len(parts)].append(rollout)
        return [self._packed(part) for part in parts]

    def _packed(self, rollouts: Sequence[Rollout]) -> list[RolloutPack]:
        packs = []
        for indices in self._even_bins([len(r.row) for r in rollouts]):
            chosen = [rollouts[i] for i in indices]
            pack = make_pack([r.row for r in chosen]).to(self._policy.device)
            flags = [r.is_used for r in chosen for _ in r.trajectory.completion_ids]
            packs.append(RolloutPack(pack, chosen, torch.tensor(flags, device=self._policy.device)))
        return packs

    def _even_bins(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return bins of rows, equally many on every rank."""
        bins = best_fit(range(len(lengths)), lengths, self._config.pack_tokens)
        count = self._policy.largest(len(bins))
        if count > len(lengths):
            raise UserError(
                "train.rl.num_minibatches",
                self._rl.num_minibatches,
                f"a rank has {len(lengths)} completions in a minibatch and needs {count} packs.",
                "Lower it, or raise train.rl.prompts_per_step or num_completions.",
            )
        return resize_bins(bins, lengths, count)

    # Scores of tokens before the first update.

    def score_tokens(self, packs: Sequence[RolloutPack], sums: IterationSums) -> None:
        """Set the rollouts' old and reference log-probabilities, and the critic's values."""
        for rollout_pack in packs:
            pack = rollout_pack.pack
            counts = list(pack.trained_counts)
            with self._policy.frozen(), self._policy.autocast():
                old = self._policy(pack, self._rl.temperature, entropy=True)
                reference_N = self._reference(pack, self._rl.temperature).logps_N
            sums.add(entropy=old.entropy_N.sum(), tokens=sum(counts))
            old_rows = torch.split(old.logps_N.cpu(), counts)
            reference_rows = torch.split(reference_N.cpu(), counts)
            for i, rollout in enumerate(rollout_pack.rollouts):
                rollout.old_T, rollout.reference_T = old_rows[i], reference_rows[i]
            if self._critic is not None:
                with self._critic.frozen():
                    values_N = _values(self._critic, pack).cpu()
                for rollout, values_T in zip(
                    rollout_pack.rollouts, torch.split(values_N, counts), strict=True
                ):
                    rollout.values_T = values_T

    def check_start(self, rollouts: Sequence[Rollout], number: int) -> float:
        """Return the mean gap between the sampler's and the trainer's log-probabilities, in nats.

        Raises `StageError` if it is above `max_sampler_gap`, or if a policy that is its own
        reference differs from itself before the first update.
        """
        gap = torch.tensor(
            [float((r.old_T - torch.tensor(r.trajectory.logps)).abs().sum()) for r in rollouts]
        ).sum()
        apart = torch.tensor([float(r.kl_T.abs().sum()) for r in rollouts]).sum()
        tokens = torch.tensor(float(sum(r.old_T.numel() for r in rollouts)))
        gap, apart, tokens = self._policy.total(torch.stack([gap, apart, tokens])).tolist()
        sampler_gap = float(gap / tokens)
        if sampler_gap > self._rl.max_sampler_gap:
            problem = f"sampler and trainer differ by {sampler_gap:.3f} nats per token"
            raise self._error(number, problem)
        is_start = number == 0 and self._task.is_own_reference
        if is_start and apart / tokens > LOGP_TOLERANCE:
            problem = f"the policy differs from itself by {apart / tokens:.2g} nats per token"
            raise self._error(number, problem)
        return sampler_gap

    def _error(self, number: int, problem: str) -> StageError:
        return StageError("train", f"{self._task.kind} step {number}", problem)

    # Updates.

    def update(
        self, packs: Sequence[RolloutPack], at: UpdateIndex, rate: float, sums: IterationSums
    ) -> float:
        """Make one optimiser step of the policy, and of the critic if there is one.

        Returns the policy's gradient norm.
        """
        counts = self._counts(packs, at.number)
        for pack in packs:
            self._backward_policy(pack, counts, at, sums)
        if self._passages:
            updates_per_step = self._rl.num_epochs * self._rl.num_minibatches
            num_used = sum(len(pack.used) for pack in packs)
            self._backward_passages(at.number * updates_per_step + at.index, num_used)
        norm = self._policy.step(rate)
        require_finite(self._task, at.number, norm)
        if self._critic is not None:
            self._update_critic(self._critic, packs, counts.tokens, at.number, sums)
        return norm

    def _counts(self, packs: Sequence[RolloutPack], number: int) -> _Counts:
        used = [r for pack in packs for r in pack.used]
        counts = torch.tensor([sum(r.old_T.numel() for r in used), len(used)], dtype=torch.float64)
        tokens, rollouts = self._policy.total(counts).tolist()
        if rollouts == 0:
            raise self._error(number, "no completion of the minibatch has a reward")
        return _Counts(tokens, rollouts)

    def _backward_policy(
        self, pack: RolloutPack, counts: _Counts, at: UpdateIndex, sums: IterationSums
    ) -> None:
        """Add the gradient of the policy loss on one pack. Raises `StageError` if the first ratios
        are not 1.
        """
        count = counts.rollouts if self._averages_completions else counts.tokens
        loss, terms = self._policy_loss(pack)
        ratios = len(pack.used) if self._has_completion_ratio else pack.used_N.sum()
        sums.add(
            loss=loss.detach() / count, clipped=terms.clipped, moved=terms.moved, ratios=ratios
        )
        if at.index == 0 and float(terms.moved) > LOGP_TOLERANCE * max(1, pack.used_N.numel()):
            raise self._error(at.number, "the ratios of the first pass are not 1")
        self._policy.backward(loss, count)

    @property
    def _has_completion_ratio(self) -> bool:
        """Whether the ratio of new to old probability is per completion, else per token."""
        is_auto = self._rl.ratio == "auto" and self._task.kind == "rloo"
        return self._rl.ratio == "completion" or is_auto

    @property
    def _averages_completions(self) -> bool:
        """Whether the loss is divided by the number of completions, else of tokens."""
        return self._has_completion_ratio or self._rl.weigh == "completion"

    def _policy_loss(self, pack: RolloutPack) -> tuple[Tensor, PolicyTerms]:
        """Return the loss summed over a pack's tokens or completions, and its terms."""
        logps_N = self._policy(pack.pack, self._rl.temperature).logps_N[pack.used_N]
        old_N = pack.tokens("old_T")
        counts = [r.old_T.numel() for r in pack.used]
        weights_N = self._token_weights(old_N, counts)
        terms = self._clipped_loss(logps_N, old_N, pack.tokens("advantages_T"), weights_N, counts)
        loss = terms.loss
        if self._rl.kl_coefficient > 0 and not kl_is_rewarded(self._task.kind, self._rl):
            kl_N = kl_terms(logps_N, pack.tokens("reference_T"), self._rl.kl_estimator, old_N)
            loss = loss + self._rl.kl_coefficient * (weights_N * kl_N).sum()
        return loss, terms

    def _token_weights(self, old_N: Tensor, counts: Sequence[int]) -> Tensor:
        """Return 1 for each token, or 1 / length if the loss averages each completion's mean."""
        if self._rl.weigh == "completion" and not self._has_completion_ratio and counts:
            return torch.cat([torch.full((n,), 1 / n) for n in counts]).to(old_N.device)
        return torch.ones_like(old_N)

    def _clipped_loss(
        self,
        logps_N: Tensor,
        old_N: Tensor,
        advantages_N: Tensor,
        weights_N: Tensor,
        counts: Sequence[int],
    ) -> PolicyTerms:
        clip = (self._rl.clip_low, self._rl.clip_high)
        if not self._has_completion_ratio or not counts:
            return policy_loss(logps_N, old_N, advantages_N, weights_N, clip)
        firsts = torch.tensor([0, *counts[:-1]]).cumsum(0)
        ones = torch.ones(len(counts), device=old_N.device)
        return policy_loss(
            row_sums(logps_N, counts), row_sums(old_N, counts), advantages_N[firsts], ones, clip
        )

    def _backward_passages(self, index: int, num_rows: int) -> None:
        """Add the gradient of the language-model loss on as many passages as there are completions
        (PPO-ptx).
        """
        rank, ranks = self._policy.rank, self._policy.world_size
        start = index * num_rows
        rows = [
            self._passages[((start + i) * ranks + rank) % len(self._passages)]
            for i in range(max(1, num_rows))
        ]
        trained = torch.tensor([float(sum(row.num_trained for row in rows))])
        count = float(self._policy.total(trained))
        for indices in self._even_bins([len(row) for row in rows]):
            pack = make_pack([rows[i] for i in indices]).to(self._policy.device)
            loss = -self._policy(pack, summed=True)
            self._policy.backward(self._rl.pretrain_coefficient * loss, count)

    def _update_critic(
        self,
        critic: Engine,
        packs: Sequence[RolloutPack],
        count: float,
        number: int,
        sums: IterationSums,
    ) -> None:
        peak = self._rl.critic_learning_rate
        rate = learning_rate_at(number, self._num_steps, peak, self._config.warmup_share)
        for pack in packs:
            values_N = _values(critic, pack.pack)[pack.used_N]
            loss, _ = value_loss(
                values_N, pack.tokens("values_T"), pack.tokens("returns_T"), self._rl.value_clip
            )
            sums.add(value_loss=loss.detach() / count)
            critic.backward(loss, count)
        critic.step(rate)


def _values(critic: Engine, pack: Pack) -> Tensor:
    """Return the critic's value before each trained token, [N]."""
    values_T: Tensor = critic(pack)
    return values_T[pack.before_T]
