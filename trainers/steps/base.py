"""What kinds of steps share: their protocol, and a supervised step over a plan of items."""

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
from trainers.config import Passes, TrainConfig
from trainers.engine.engine import Engine
from trainers.engine.guards import check_tokenizer, same_on_all_ranks, warn_once
from trainers.engine.memory import require_memory
from trainers.models.adapters import adapted
from trainers.models.kernels import check_kernels, with_kernels
from trainers.models.modules import PackedModel, check_packing, load_policy, load_scalar
from trainers.rollouts.rewards import Rewarder
from trainers.task import Task


@dataclass(frozen=True)
class StepContext:
    """What a step is made from. `rewarders` are the sources of rewards outside this process, by
    name.
    """

    task: Task
    config: TrainConfig
    rewarders: Mapping[str, Rewarder] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """What became of one step, the same on every rank."""

    loss: float
    grad_norm: float
    learning_rate: float
    num_tokens: int
    row_ids: tuple[str, ...]
    metrics: dict[str, float] = field(default_factory=dict)


class TrainerStep(Protocol):
    """Plug-in point: one kind of training step. Every rank makes one and calls the same methods in
    the same order.
    """

    num_steps: int
    engines: dict[str, Engine]
    """By name, what a point to resume from has to hold."""

    def __init__(self, context: StepContext) -> None: ...

    def prepare(self) -> None:
        """Whatever must be known of the source model before its first update, or before a point is
        taken up.
        """
        ...

    def run(self, number: int) -> StepResult:
        """Step `number`, from 0 on; a function of the engines' state and the context alone."""
        ...

    def export(self, folder: Path) -> None:
        """Write the finished model."""
        ...


@dataclass(frozen=True)
class Item:
    """Rows that stay together, under the id of the data row that they come from."""

    item_id: str
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return sum(map(len, self.rows))


def learning_rate_at(step: int, num_steps: int, peak: float, warmup_share: float) -> float:
    """Linear warm-up to `peak`, then linear decay to a tenth of it at the last step."""
    warmup = max(1, round(warmup_share * num_steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (num_steps - 1 - step) / max(1, num_steps - warmup)
    return peak * (0.1 + 0.9 * left)


def build_engine(folder: Path, config: TrainConfig, scalar_seed: int | None = None) -> Engine:
    """An engine on a folder's language model, or, with a seed for a new head, on its scalar model."""
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
    same_on_all_ranks(module)
    module.model = adapted(module.model, config.lora_rank, has_head=scalar_seed is not None)
    return Engine(module, config)


class Supervised:
    """A step over items that are known before it starts: a plan of optimiser steps, each over
    packs.

    A kind says what module it trains, which rows an item has, what the loss of a pack is and what
    it is divided by.
    """

    num_steps: int
    engines: dict[str, Engine]
    section: ClassVar[str]
    """The part of `[train]` that holds the kind's learning rate and epochs."""
    sums: ClassVar[tuple[str, ...]] = ()
    """Names of what `loss` sums besides the loss; reported divided by the count."""

    def __init__(self, context: StepContext) -> None:
        self.context = context
        self.task, self.config = context.task, context.config
        self.passes: Passes = getattr(self.config, self.section)
        source = Path(self.task.source)
        self.tokenizer = load_tokenizer(source, "train")
        check_tokenizer(self.tokenizer, source)
        self.builder = RowBuilder(self.tokenizer, self.config.max_tokens)
        self.data = self.task.rows()
        self.items = self._readable()
        self.lengths = [len(item) for item in self.items]
        self.plan = [
            step
            for epoch in range(self.passes.epochs)
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

    # What a kind says.

    def build(self) -> Engine:
        """The engine to train."""
        return build_engine(Path(self.task.source), self.config)

    def rows_of(self, data: Mapping[str, Any]) -> list[Row]:
        """The rows of one item."""
        raise NotImplementedError

    def count(self, items: Bin) -> float:
        """What the loss of these items is divided by."""
        return float(len(items))

    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        """(the sum of the losses of these items, what is summed besides)."""
        raise NotImplementedError

    def begin(self, number: int) -> None:
        """Before the first pack of a step."""

    def prepare(self) -> None:
        """See `TrainerStep`: nothing."""

    # What is the same for all.

    def _readable(self) -> list[Item]:
        """The data as items; rows without a trained token are named and left out."""
        items, kept, empty, cut = [], [], [], 0
        for data in self.data:
            rows = tuple(self.rows_of(data))
            if rows and all(row.num_trained for row in rows):
                items.append(Item(str(data["id"]), rows))
                kept.append(data)
                cut += any(row.is_cut for row in rows)
            else:
                empty.append(str(data["id"]))
        self.data = kept
        if empty:
            warn_once(
                f"{self.task.kind}: {len(empty)} rows have no token to train and are left out (the first: {empty[0]})"
            )
        if cut:
            warn_once(
                f"{self.task.kind}: {cut} of {len(items)} rows are longer than train.max_tokens and lost their end"
            )
        if len(items) < self.config.min_items:
            raise UserError(
                "train.num_workers",
                self.config.min_items,
                f"{self.task.kind} has {len(items)} rows to train, and each worker needs one.",
                "Set it lower, or crawl more.",
            )
        return items

    def packs(self, number: int) -> list[tuple[Pack, Bin]]:
        """The rank's packs of a step, on its device, with the items in each."""
        return [(self.pack(items), items) for items in self.bins(number)]

    def bins(self, number: int) -> list[Bin]:
        """The items of each of the rank's packs of a step."""
        ranks = lay_out(
            self.plan[number], self.lengths, self.config.pack_tokens, self.engine.world_size
        )
        return ranks[self.engine.rank]

    def pack(self, items: Bin) -> Pack:
        """Items as a pack on this rank's device."""
        return make_pack([row for i in items for row in self.items[i].rows]).to(self.engine.device)

    def run(self, number: int) -> StepResult:
        """See `TrainerStep`."""
        step = self.plan[number]
        rate = learning_rate_at(
            number, self.num_steps, self.passes.learning_rate, self.config.warmup_share
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
        """See `TrainerStep`."""
        self.engine.export(folder, self.tokenizer)


def require_finite(task: Task, number: int, value: float) -> None:
    """Raise `StageError` for a loss or norm that is none."""
    if not math.isfinite(value):
        raise StageError(
            "train", f"{task.kind} step {number}", f"the loss or the gradient norm is {value}"
        )


MakeStep = type[TrainerStep]
