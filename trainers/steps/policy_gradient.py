"""PPO, GRPO, RLOO and REINFORCE++: sample, reward, compare with the reference, update. They differ
in advantages alone.

An iteration's packs are made once. Old log-probabilities are taken in the very packs that are
trained, so the first pass has a ratio of exactly 1, which is checked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infra.errors import StageError, UserError
from infra.models.folders import load_tokenizer
from infra.records import content_key
from trainers.batches.packing import Pack, best_fit, make_pack, resize_bins
from trainers.batches.rows import Row, RowBuilder
from trainers.config import RlConfig
from trainers.engine.engine import Engine
from trainers.engine.guards import SAME, check_tokenizer
from trainers.models.adapters import merged
from trainers.models.modules import PackedModel, ScalarModel, load_policy, load_scalar
from trainers.objectives.losses import PolicyTerms, kl_terms, policy_loss, row_sums, value_loss
from trainers.rollouts.rewards import REWARD_MODEL, Attempted, model_rewards, weighted_sum
from trainers.rollouts.rollouts import Rollout, kl_is_rewarded, set_advantages, settle_truncated
from trainers.rollouts.sampler import SampleRequest, SamplingLimits, Trajectory, TransformersSampler
from trainers.rollouts.vllm_sampler import VllmSampler, check_vllm
from trainers.steps.base import (
    StepContext,
    StepResult,
    build_engine,
    learning_rate_at,
    require_finite,
)
from trainers.steps.language import language_row
from trainers.steps.policy_metrics import Sums, iteration_metrics, note_rollouts, raise_alarm
from trainers.task import read_rows


@dataclass
class Cell:
    """A pack of rollouts on this rank's device. `used_N` marks the tokens of those with a reward."""

    pack: Pack
    rollouts: list[Rollout]
    used_N: Tensor

    def tokens(self, name: str) -> Tensor:
        """A field of the used rollouts at each of their tokens, [N]."""
        rows = [getattr(r, name) for r in self.rollouts if r.is_used]
        return (
            torch.cat(rows).to(self.used_N.device)
            if rows
            else torch.empty(0, device=self.used_N.device)
        )


class PolicyGradient:
    """See `TrainerStep`; `task.kind` says which advantages."""

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
        self.builder = RowBuilder(self.tokenizer, self.config.max_tokens)
        self.prompts: list[dict[str, Any]] = self._usable_prompts()
        per_step = min(self.rl.prompts_per_step, len(self.prompts))
        self.per_step = max(per_step, context.config.min_items)
        self.num_steps = self.rl.num_steps or max(1, len(self.prompts) // self.per_step)
        self.policy = build_engine(source, self.config)
        self.engines = {"model": self.policy}
        if self.task.kind == "ppo":
            start = Path(self.task.reward_model or self.task.source)
            self.engines["critic"] = build_engine(start, self.config, scalar_seed=self.task.seed)
        dtype = self.policy.dtype
        self.reference = (
            load_policy(self.task.reference_folder, dtype).to(self.policy.device).eval()
        )
        self.reward_model: ScalarModel | None = None
        if REWARD_MODEL in self.rl.rewards:
            self.reward_model = (
                load_scalar(Path(self.task.reward_model), dtype=dtype).to(self.policy.device).eval()
            )
        self.passages: list[Row] = []
        if self.rl.pretrain_coefficient > 0 and self.task.passages:
            self.passages = [
                language_row(self.builder, data) for data in read_rows(self.task.passages)
            ]
        self._limits = SamplingLimits(
            self.rl.max_new_tokens, self.rl.temperature, tuple(self.rl.stop)
        )
        self._vllm = self._start_vllm(source) if self.rl.sampler == "vllm" else None
        self._updates_per_step = self.rl.num_epochs * self.rl.num_minibatches
        self._seconds: dict[str, float] = {}

    def _usable_prompts(self) -> list[dict[str, Any]]:
        """The data, without prompts of which no source of rewards can say anything."""
        rows = self.task.rows()
        if "verifier" in self.rl.rewards:
            rows = [row for row in rows if row.get("check")]
        if len(rows) < self.config.min_items:
            raise UserError(
                "train.rl.rewards",
                ", ".join(self.rl.rewards),
                f"{len(rows)} prompts can be rewarded so, and each worker needs one.",
                "Add another source of rewards, or lower train.num_workers.",
            )
        return rows

    def prepare(self) -> None:
        """See `TrainerStep`: nothing, since the reference is a model of its own."""

    # An iteration.

    def run(self, number: int) -> StepResult:
        """See `TrainerStep`: sample, reward, and `num_epochs` times `num_minibatches` updates."""
        self._seconds = {}
        prompts = self.prompts_of(number)
        rank, ranks = self.policy.rank, self.policy.world_size
        rollouts = self.sample(list(enumerate(prompts))[rank::ranks], number)
        with self._timed("score"):
            self.reward(rollouts)
        sums = Sums()
        with self._timed("train"):
            parts = self.cells(rollouts)
            self.take_logps(parts, sums)
            self.watch_start(rollouts, number)
            set_advantages(self.task.kind, rollouts, self.rl, self.policy.total)
            rate = learning_rate_at(
                number, self.num_steps, self.rl.learning_rate, self.config.warmup_share
            )
            norms = [
                self.update(cells, number, epoch * len(parts) + part, rate, sums)
                for epoch in range(self.rl.num_epochs)
                for part, cells in enumerate(parts)
            ]
        note_rollouts(rollouts, sums)
        return self._result(number, prompts, sums, norms, rate)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.monotonic() - started

    def prompts_of(self, number: int) -> list[int]:
        """Prompts of an iteration: every one once before any comes again."""
        wanted = range(number * self.per_step, (number + 1) * self.per_step)
        chosen = []
        for place in wanted:
            order = list(range(len(self.prompts)))
            random.Random(f"{self.task.seed}/{place // len(order)}").shuffle(order)  # noqa: S311
            chosen.append(order[place % len(order)])
        return chosen

    def sample(self, prompts: Sequence[tuple[int, int]], number: int) -> list[Rollout]:
        """Several completions by the present policy of each prompt, given as (place in the step,
        index).
        """
        places = [
            (i, self.prompts[index], k)
            for i, index in prompts
            for k in range(self.rl.num_completions)
        ]
        requests = []
        for i, data, k in places:
            # By `i` too: a prompt may come twice in a step, where one pass over them ends and the
            # next begins.
            seed = int(
                content_key(self.task.seed, self.task.kind, number, i, data["id"], k)[:15], 16
            )
            requests.append(SampleRequest(tuple(self.builder.prompt(data["prompt"])), seed))
        critic = self.engines.get("critic")
        if critic is not None:
            critic.offload()
        trajectories = self._complete(requests, weight_version=number * self._updates_per_step)
        if critic is not None:
            critic.reload()
        return [
            Rollout(str(d["id"]), i, i + k, t)
            for (i, d, k), t in zip(places, trajectories, strict=True)
        ]

    def _complete(self, requests: Sequence[SampleRequest], weight_version: int) -> list[Trajectory]:
        if self._vllm is not None:
            with (
                self._gathered_policy() as module,
                self._timed("sync"),
                merged(module.model) as (_, weights),
            ):
                self._vllm.take_weights(weights)
            with self._timed("complete"):
                return self._vllm.sample(requests, weight_version)
        with (
            self.policy.frozen(),
            self._gathered_policy() as module,
            self.policy.autocast(),
            self._timed("complete"),
        ):
            module.packed = False
            trajectories = TransformersSampler(module.model, self.tokenizer, self._limits).sample(
                requests, weight_version
            )
            module.packed = True
        return trajectories

    def _start_vllm(self, source: Path) -> VllmSampler:
        longest = self.config.max_tokens + self.rl.max_new_tokens
        return VllmSampler(
            source,
            self.policy.dtype,
            self.tokenizer.eos_token_id,
            self._limits,
            longest,
            self.rl.sampler_memory,
        )

    @contextmanager
    def _gathered_policy(self) -> Iterator[PackedModel]:
        """The policy with all its weights in place, however long that takes."""
        with ExitStack() as stack:
            with self._timed("sync"):
                module = stack.enter_context(self.policy.gathered())
            yield module

    def reward(self, rollouts: Sequence[Rollout]) -> None:
        """The weighted sum of all sources; what any of them cannot say is left without a reward."""
        by_id = {str(data["id"]): data for data in self.prompts}
        parts: dict[str, Sequence[float | None]] = {}
        attempts = []
        for rollout in rollouts:
            data = by_id[rollout.prompt_id]
            text = self.tokenizer.decode(
                rollout.trajectory.completion_ids, skip_special_tokens=True
            )
            attempts.append(
                Attempted(
                    data["prompt"], text, data.get("check") or "", data.get("reference") or ""
                )
            )
        for name in self.rl.rewards:
            if name == REWARD_MODEL:
                assert self.reward_model is not None, "it is loaded where the recipe names it"
                with self.policy.autocast():
                    rows = [r.row for r in rollouts]
                    parts[name] = model_rewards(self.reward_model, rows, self.config.pack_tokens)
            else:
                parts[name] = self.context.rewarders[name].rewards(attempts)
        for rollout, total in zip(rollouts, weighted_sum(parts, self.rl.rewards), strict=True):
            rollout.reward = total
            settle_truncated(rollout, self.rl)

    def cells(self, rollouts: Sequence[Rollout]) -> list[list[Cell]]:
        """The rank's rollouts as packs, for each minibatch; every rank has as many of them.

        A prompt's completions are dealt out in turn, so a minibatch does not depend on the number
        of ranks.
        """
        parts: list[list[Rollout]] = [[] for _ in range(self.rl.num_minibatches)]
        for rollout in rollouts:
            parts[rollout.place % len(parts)].append(rollout)
        return [self._packed(part) for part in parts]

    def _packed(self, rollouts: Sequence[Rollout]) -> list[Cell]:
        bins = self._even_bins([len(r.row) for r in rollouts])
        cells = []
        for items in bins:
            chosen = [rollouts[i] for i in items]
            pack = make_pack([r.row for r in chosen]).to(self.policy.device)
            flags = [r.is_used for r in chosen for _ in r.trajectory.completion_ids]
            cells.append(Cell(pack, chosen, torch.tensor(flags, device=self.policy.device)))
        return cells

    def _even_bins(self, lengths: Sequence[int]) -> list[list[int]]:
        """Bins of rows, as many on every rank."""
        bins = best_fit(range(len(lengths)), lengths, self.config.pack_tokens)
        count = self.policy.largest(len(bins))
        if count > len(lengths):
            raise UserError(
                "train.rl.num_minibatches",
                self.rl.num_minibatches,
                f"a rank has {len(lengths)} completions in a minibatch and {count} packs are needed.",
                "Lower it, or raise train.rl.prompts_per_step or num_completions.",
            )
        return resize_bins(bins, lengths, count)

    def take_logps(self, parts: Sequence[Sequence[Cell]], sums: Sums) -> None:
        """Old and reference log-probabilities and values, in the packs that will be trained."""
        critic = self.engines.get("critic")
        for cell in (cell for cells in parts for cell in cells):
            counts = list(cell.pack.trained_counts)
            with self.policy.frozen(), self.policy.autocast():
                said = self.policy(cell.pack, self.rl.temperature, entropy=True)
                reference_N = self.reference(cell.pack, self.rl.temperature).logps_N
            sums.add(entropy=said.entropy_N.sum(), tokens=sum(counts))
            rows = [torch.split(x.cpu(), counts) for x in (said.logps_N, reference_N)]
            if critic is not None:
                with critic.frozen():
                    rows.append(torch.split(self._values(critic, cell.pack).cpu(), counts))
            for i, rollout in enumerate(cell.rollouts):
                rollout.old_T, rollout.reference_T = rows[0][i], rows[1][i]
                if critic is not None:
                    rollout.values_T = rows[2][i]

    def _values(self, critic: Engine, pack: Pack) -> Tensor:
        """The critic's value before each trained token, [N]."""
        values_T: Tensor = critic(pack)
        return values_T[pack.before_T]

    def watch_start(self, rollouts: Sequence[Rollout], number: int) -> None:
        """Raise `StageError` where sampler and trainer disagree, or a policy does with itself as
        its reference.
        """
        gap = torch.tensor(
            [float((r.old_T - torch.tensor(r.trajectory.logps)).abs().sum()) for r in rollouts]
        ).sum()
        apart = torch.tensor([float(r.kl_T.abs().sum()) for r in rollouts]).sum()
        tokens = torch.tensor(float(sum(r.old_T.numel() for r in rollouts)))
        gap, apart, tokens = self.policy.total(torch.stack([gap, apart, tokens])).tolist()
        self._sampler_gap = gap / tokens
        where = f"{self.task.kind} step {number}"
        if self._sampler_gap > self.rl.max_sampler_gap:
            raise StageError(
                "train",
                where,
                f"sampler and trainer differ by {self._sampler_gap:.3f} nats a token",
            )
        if number == 0 and self.task.is_own_reference and apart / tokens > SAME:
            raise StageError(
                "train",
                where,
                f"the policy differs from itself by {apart / tokens:.2g} nats a token",
            )

    # An update.

    def update(
        self, cells: Sequence[Cell], number: int, index: int, rate: float, sums: Sums
    ) -> float:
        """One optimiser step of the policy, and of the critic where there is one; the policy's
        gradient norm.
        """
        used = [r for cell in cells for r in cell.rollouts if r.is_used]
        tokens = sum(r.old_T.numel() for r in used)
        totals = self.policy.total(torch.tensor([tokens, len(used)], dtype=torch.float64)).tolist()
        if totals[1] == 0:
            raise StageError(
                "train",
                f"{self.task.kind} step {number}",
                "no completion of the minibatch has a reward",
            )
        count = totals[1] if self._per_completion else totals[0]
        for cell in cells:
            loss, terms = self._policy_loss(cell)
            ratios = sum(r.is_used for r in cell.rollouts) if self._whole else cell.used_N.sum()
            sums.add(
                loss=loss.detach() / count, clipped=terms.clipped, moved=terms.moved, ratios=ratios
            )
            if index == 0 and float(terms.moved) > SAME * max(1, cell.used_N.numel()):
                raise StageError(
                    "train",
                    f"{self.task.kind} step {number}",
                    "the first pass has a ratio other than 1",
                )
            self.policy.backward(loss, count)
        if self.passages:
            self._mix_passages(number * self._updates_per_step + index, len(used))
        norm = self.policy.step(rate)
        require_finite(self.task, number, norm)
        critic = self.engines.get("critic")
        if critic is not None:
            peak = self.rl.critic_learning_rate
            critic_rate = learning_rate_at(number, self.num_steps, peak, self.config.warmup_share)
            self._update_critic(critic, cells, totals[0], critic_rate, sums)
        return norm

    @property
    def _whole(self) -> bool:
        """Whether a completion has one ratio."""
        return self.rl.ratio == "completion" or (
            self.rl.ratio == "auto" and self.task.kind == "rloo"
        )

    @property
    def _per_completion(self) -> bool:
        """Whether the loss is divided by the number of completions, and not of tokens."""
        return self._whole or self.rl.weigh == "completion"

    def _policy_loss(self, cell: Cell) -> tuple[Tensor, PolicyTerms]:
        """(the sum of the loss over the cell's tokens, or completions; its terms)."""
        logps_N = self.policy(cell.pack, self.rl.temperature).logps_N[cell.used_N]
        old_N, advantages_N = cell.tokens("old_T"), cell.tokens("advantages_T")
        counts = [r.old_T.numel() for r in cell.rollouts if r.is_used]
        weights_N = torch.ones_like(old_N)
        if self._per_completion and not self._whole and counts:
            weights_N = torch.cat([torch.full((n,), 1 / n) for n in counts]).to(old_N.device)
        clip = (self.rl.clip_low, self.rl.clip_high)
        if self._whole and counts:
            firsts = torch.tensor([0, *counts[:-1]]).cumsum(0)
            terms = policy_loss(
                row_sums(logps_N, counts),
                row_sums(old_N, counts),
                advantages_N[firsts],
                torch.ones(len(counts), device=old_N.device),
                clip,
            )
        else:
            terms = policy_loss(logps_N, old_N, advantages_N, weights_N, clip)
        loss = terms.loss
        if self.rl.kl_coefficient > 0 and not kl_is_rewarded(self.task.kind, self.rl):
            kl_N = kl_terms(logps_N, cell.tokens("reference_T"), self.rl.kl_estimator, old_N)
            loss = loss + self.rl.kl_coefficient * (weights_N * kl_N).sum()
        return loss, terms

    def _mix_passages(self, index: int, num_rows: int) -> None:
        """The gradient of the language-model loss on as many passages as there are completions
        (PPO-ptx).
        """
        rank, ranks = self.policy.rank, self.policy.world_size
        start = index * num_rows
        rows = [
            self.passages[((start + i) * ranks + rank) % len(self.passages)]
            for i in range(max(1, num_rows))
        ]
        trained = torch.tensor([float(sum(row.num_trained for row in rows))])
        count = float(self.policy.total(trained))
        for items in self._even_bins([len(row) for row in rows]):
            pack = make_pack([rows[i] for i in items]).to(self.policy.device)
            loss = -self.policy(pack, summed=True)
            self.policy.backward(self.rl.pretrain_coefficient * loss, count)

    def _update_critic(
        self, critic: Engine, cells: Sequence[Cell], count: float, rate: float, sums: Sums
    ) -> None:
        for cell in cells:
            values_N = self._values(critic, cell.pack)[cell.used_N]
            loss, _ = value_loss(
                values_N, cell.tokens("values_T"), cell.tokens("returns_T"), self.rl.value_clip
            )
            sums.add(value_loss=loss.detach() / count)
            critic.backward(loss, count)
        critic.step(rate)

    def _result(
        self, number: int, prompts: Sequence[int], sums: Sums, norms: Sequence[float], rate: float
    ) -> StepResult:
        """What is told of an iteration, the same on every rank."""
        names = sorted(sums.values)
        total = dict(
            zip(
                names,
                self.policy.total(torch.tensor([sums.values[n] for n in names])).tolist(),
                strict=True,
            )
        )
        metrics = iteration_metrics(total, len(norms)) | {"sampler_gap": self._sampler_gap}
        raise_alarm(self.task, number, metrics, self.rl)
        loss = total["loss"] / len(norms)
        require_finite(self.task, number, loss)
        return StepResult(
            loss=loss,
            grad_norm=max(norms),
            learning_rate=rate,
            num_tokens=int(total["num_tokens"]),
            row_ids=tuple(str(self.prompts[i]["id"]) for i in prompts),
            metrics=metrics
            | {f"{phase}_seconds": seconds for phase, seconds in self._seconds.items()},
        )

    def export(self, folder: Path) -> None:
        """See `TrainerStep`."""
        self.policy.export(folder, self.tokenizer)
