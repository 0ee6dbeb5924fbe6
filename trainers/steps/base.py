"""The interface of training steps, and the base of steps on a fixed plan of items."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from infra.errors import StageError, UserError
from infra.models.folders import load_tokenizer
from trainers.batches.packing import Bin, Pack, lay_out, make_pack, plan_steps
from trainers.batches.rows import Row, RowBuilder
from trainers.config import TrainConfig, TrainingSchedule
from trainers.engine.engine import Engine
from trainers.engine.guards import check_same_weights, check_tokenizer, warn_once
from trainers.engine.memory import require_memory
from trainers.models.adapters import add_adapters
from trainers.models.kernels import check_kernels, with_kernels
from trainers.models.modules import PackedModel, check_packing, load_policy, load_scalar
from trainers.rollouts.rewards import Rewarder
from trainers.task import Task


@dataclass(frozen=True)
class StepContext:
    """What a step is created from. `rewarders` are reward sources outside this process, by name."""

    task: Task
    config: TrainConfig
    rewarders: Mapping[str, Rewarder] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """The result of one step, equal on every rank."""

    loss: float
    grad_norm: float
    learning_rate: float
    num_tokens: int
    row_ids: tuple[str, ...]
    metrics: dict[str, float] = field(default_factory=dict)


class TrainerStep(Protocol):
    """Plug-in point: one kind of training step. Every rank creates one and calls the same methods
    in the same order.
    """

    num_steps: int
    engines: dict[str, Engine]
    """Engines by name; a resume point holds the state of all of them."""

    def __init__(self, context: StepContext) -> None: ...

    def prepare(self) -> None:
        """Compute what depends on the source model, before the first update and before resuming."""
        ...

    def run(self, number: int) -> StepResult:
        """Run step `number`, counted from 0. The result depends only on the engines' state and the
        context.
        """
        ...

    def export(self, folder: Path) -> None:
        """Write the finished model."""
        ...


@dataclass(frozen=True)
class TrainingItem:
    """Rows that stay together in a step, with the id of their data row."""

    item_id: str
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return sum(map(len, self.rows))


def learning_rate_at(step: int, num_steps: int, peak: float, warmup_share: float) -> float:
    """Return the learning rate of a step: linear warm-up to `peak`, then linear decay to a tenth of
    it.
    """
    warmup = max(1, round(warmup_share * num_steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (num_steps - 1 - step) / max(1, num_steps - warmup)
    return peak * (0.1 + 0.9 * left)


def build_engine(folder: Path, config: TrainConfig, scalar_seed: int | None = None) -> Engine:
    """Return an engine for a folder's language model, or with `scalar_seed` for its scalar
    model.
    """
    check_kernels(config)
    require_memory(folder, config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module: PackedModel
    if scalar_seed is None:
        module = load_policy(folder, flash=config.flash_attention)
    else:
        module = load_scalar(folder, scalar_seed, flash=config.flash_attention)
    module.model = with_kernels(module.model, config)
    module.to(device)
    check_packing(module)
    check_same_weights(module)
    module.model = add_adapters(module.model, config.lora_rank, has_head=scalar_seed is not None)
    return Engine(module, config)


class SupervisedStep:
    """A step on known items: a plan of optimiser steps, each on packs.

    A subclass defines the model, the rows of an item, the loss of a pack, and the divisor of the
    loss.
    """

    num_steps: int
    engines: dict[str, Engine]
    section: ClassVar[str]
    """The section of `[train]` with the learning rate and epochs of this kind."""
    sums: ClassVar[tuple[str, ...]] = ()
    """Names of the further sums that `loss` returns; they are reported divided by the count."""

    def __init__(self, context: StepContext) -> None:
        self.context = context
        self.task, self.config = context.task, context.config
        self.schedule: TrainingSchedule = getattr(self.config, self.section)
        source = Path(self.task.source)
        self.tokenizer = load_tokenizer(source, "train")
        check_tokenizer(self.tokenizer, source)
        self.builder = RowBuilder(self.tokenizer, self.config.max_tokens)
        self.data = self.task.rows()
        self.items = self._make_items()
        self.lengths = [len(item) for item in self.items]
        self.plan = [
            step
            for epoch in range(self.schedule.epochs)
            for step in plan_steps(
                self.lengths,
                self.config.batch_tokens,
                context.config.min_items,
                self.task.seed,
                epoch,
            )
        ]
        self.num_steps = len(self.plan)
        self.engine = self.build()
        self.engines = {"model": self.engine}

    def build(self) -> Engine:
        """Return the engine to train."""
        return build_engine(Path(self.task.source), self.config)

    def make_rows(self, data: Mapping[str, Any]) -> list[Row]:
        """Return the rows of one item."""
        raise NotImplementedError

    def count(self, items: Bin) -> float:
        """Return the divisor of the loss of these items."""
        return float(len(items))

    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        """Return (the sum of these items' losses, further sums)."""
        raise NotImplementedError

    def begin(self, number: int) -> None:
        """Called before the first pack of a step."""

    def prepare(self) -> None:
        """Do nothing."""

    def _make_items(self) -> list[TrainingItem]:
        """Return the data as items. Rows without a trained token are reported and left out."""
        items, kept, empty, cut = [], [], [], 0
        for data in self.data:
            rows = tuple(self.make_rows(data))
            if rows and all(row.num_trained for row in rows):
                items.append(TrainingItem(str(data["id"]), rows))
                kept.append(data)
                cut += any(row.is_cut for row in rows)
            else:
                empty.append(str(data["id"]))
        self.data = kept
        if empty:
            warn_once(
                f"{self.task.kind}: {len(empty)} rows have no token to train"
                f" and are left out (the first: {empty[0]})"
            )
        if cut:
            warn_once(
                f"{self.task.kind}: {cut} of {len(items)} rows are longer than train.max_tokens"
                " and are cut at the end"
            )
        if len(items) < self.config.min_items:
            raise UserError(
                "train.num_workers",
                self.config.min_items,
                f"{self.task.kind} has {len(items)} rows to train, and each worker needs one.",
                "Lower it, or crawl more.",
            )
        return items

    def packs(self, number: int) -> list[tuple[Pack, Bin]]:
        """Return the rank's packs of a step, on its device, with the items in each."""
        return [(self.pack(items), items) for items in self.bins(number)]

    def bins(self, number: int) -> list[Bin]:
        """Return the items of each of the rank's packs of a step."""
        ranks = lay_out(
            self.plan[number], self.lengths, self.config.pack_tokens, self.engine.world_size
        )
        return ranks[self.engine.rank]

    def pack(self, items: Bin) -> Pack:
        """Return items as a pack on this rank's device."""
        return make_pack([row for i in items for row in self.items[i].rows]).to(self.engine.device)

    def run(self, number: int) -> StepResult:
        """Run one optimiser step."""
        step = self.plan[number]
        rate = learning_rate_at(
            number, self.num_steps, self.schedule.learning_rate, self.config.warmup_share
        )
        count = self.count(step)
        self.begin(number)
        sums = torch.zeros(1 + len(self.sums), dtype=torch.float64)
        for pack, items in self.packs(number):
            loss, others = self.loss(pack, items)
            sums += torch.stack([loss.detach(), *others]).double().cpu()
            self.engine.backward(loss, count)
        means = (self.engine.total(sums) / count).tolist()
        require_finite(self.task, number, means[0])
        norm = self.engine.step(rate)
        require_finite(self.task, number, norm)
        return StepResult(
            loss=means[0],
            grad_norm=norm,
            learning_rate=rate,
            num_tokens=sum(self.lengths[i] for i in step),
            row_ids=tuple(self.items[i].item_id for i in step),
            metrics=dict(zip(self.sums, means[1:], strict=True)),
        )

    def export(self, folder: Path) -> None:
        """Write the trained model."""
        self.engine.export(folder, self.tokenizer)


def require_finite(task: Task, number: int, value: float) -> None:
    """Raise `StageError` for a loss or norm that is not finite."""
    if not math.isfinite(value):
        raise StageError(
            "train", f"{task.kind} step {number}", f"the loss or the gradient norm is {value}"
        )


MakeStep = type[TrainerStep]
