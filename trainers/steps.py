"""The training steps: each reads a model folder and rows, and leaves a model folder and its metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from infra.errors import StageError
from infra.records import TrainStep
from trainers.batches import Pair, Row, RowBuilder, Step, pad_rows, plan_steps
from trainers.config import TrainConfig
from trainers.engine import Engine, learning_rate_at
from trainers.losses import dpo_loss, row_sums, selected_logps, sft_loss
from trainers.tasks import Task

Report = Callable[[TrainStep], None]


class TrainerStep(Protocol):
    """Plug-in point: one kind of training step."""

    def __init__(self, engine: Engine, task: Task, config: TrainConfig) -> None: ...

    def lengths(self) -> list[int]:
        """Tokens of each item, for the plan."""
        ...

    def prepare(self, cells: Sequence[Sequence[int]]) -> None:
        """Whatever must be known of this rank's micro-batches before the first update."""
        ...

    def count(self, indices: Sequence[int]) -> int:
        """What the loss of these items is divided by: trained tokens, or pairs."""
        ...

    def loss(self, indices: Sequence[int]) -> Tensor:
        """The sum of the losses of these items."""
        ...

    def peak_learning_rate(self) -> float:
        """The highest learning rate of the schedule."""
        ...


class SupervisedFineTuning:
    """Negative log-likelihood of passages, and of the completions of demonstrations."""

    def __init__(self, engine: Engine, task: Task, config: TrainConfig) -> None:
        self._engine, self._config = engine, config
        builder = RowBuilder(engine.tokenizer, config.max_tokens)
        self._rows: list[Row] = [
            builder.demonstration(item["prompt"], item["completion"])
            if item["prompt"]
            else builder.passage(item["completion"])
            for item in task.rows()
        ]

    def prepare(self, cells: Sequence[Sequence[int]]) -> None:
        """See `TrainerStep`: nothing."""

    def lengths(self) -> list[int]:
        """See `TrainerStep`."""
        return [len(row.ids) for row in self._rows]

    def count(self, indices: Sequence[int]) -> int:
        """See `TrainerStep`."""
        return sum(self._rows[i].num_trained for i in indices)

    def loss(self, indices: Sequence[int]) -> Tensor:
        """See `TrainerStep`."""
        ids_BT, mask_BT, trained_BT = pad_rows([self._rows[i] for i in indices], self._engine.tokenizer.pad_token_id)
        logits_BTV = self._engine.logits(ids_BT, mask_BT)
        device = logits_BTV.device
        return sft_loss(logits_BTV, ids_BT.to(device), trained_BT.to(device))[0]

    def peak_learning_rate(self) -> float:
        """See `TrainerStep`."""
        return self._config.learning_rate


class DirectPreferenceOptimisation:
    """Sigmoid DPO against the model that the step starts from, whose log-probabilities are taken first."""

    def __init__(self, engine: Engine, task: Task, config: TrainConfig) -> None:
        self._engine, self._config = engine, config
        builder = RowBuilder(engine.tokenizer, config.max_tokens)
        self._pairs = [
            Pair(
                builder.demonstration(item["prompt"], item["chosen"]),
                builder.demonstration(item["prompt"], item["rejected"]),
            )
            for item in task.rows()
        ]
        self._references: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def prepare(self, cells: Sequence[Sequence[int]]) -> None:
        """Take the reference's log-probabilities in the very batches that will be trained.

        Then policy and reference agree to the last bit before the first update, in bfloat16 too.
        """
        with self._engine.frozen():
            self._references = {tuple(cell): self._logps(cell) for cell in cells}

    def _logps(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Row log-probabilities (chosen, rejected), [B] each, by one forward pass over both.

        A module that is used twice in one backward pass has lost gradients under ZeRO-2.
        """
        pairs = [self._pairs[i] for i in indices]
        rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        ids_BT, mask_BT, trained_BT = pad_rows(rows, self._engine.tokenizer.pad_token_id)
        logits_BTV = self._engine.logits(ids_BT, mask_BT)
        device = logits_BTV.device
        trained_BT = trained_BT.to(device)
        sums_B = row_sums(selected_logps(logits_BTV, ids_BT.to(device), trained_BT), trained_BT)
        return sums_B[: len(pairs)], sums_B[len(pairs) :]

    def lengths(self) -> list[int]:
        """See `TrainerStep`."""
        return [len(pair.chosen.ids) + len(pair.rejected.ids) for pair in self._pairs]

    def count(self, indices: Sequence[int]) -> int:
        """See `TrainerStep`."""
        return len(indices)

    def loss(self, indices: Sequence[int]) -> Tensor:
        """See `TrainerStep`."""
        chosen_B, rejected_B = self._logps(indices)
        return dpo_loss(chosen_B, rejected_B, *self._references[tuple(indices)], self._config.dpo_beta)[0]

    def peak_learning_rate(self) -> float:
        """See `TrainerStep`."""
        return self._config.dpo_learning_rate


KINDS: dict[str, type[TrainerStep]] = {
    "sft": SupervisedFineTuning,
    "dpo": DirectPreferenceOptimisation,
}


def run_task(task: Task, config: TrainConfig, report: Report) -> None:
    """Train one step kind from `task.source` into `task.target`; every rank calls it."""
    engine = Engine(Path(task.source), config)
    try:
        step = KINDS[task.kind](engine, task, config)
        lengths = step.lengths()
        plan = plan_steps(lengths, config.batch_tokens, config.micro_batch_size, engine.world_size, task.seed)
        step.prepare([cell for layout in plan for cell in layout.cells[engine.rank]])
        for number, layout in enumerate(plan):
            rate = learning_rate_at(number, len(plan), step.peak_learning_rate(), config.warmup_share)
            report(_optimiser_step(engine, step, layout, number, rate, task, lengths))
        engine.export(Path(task.target))
    finally:
        engine.close()


def _optimiser_step(
    engine: Engine, step: TrainerStep, layout: Step, number: int, rate: float, task: Task, lengths: Sequence[int]
) -> TrainStep:
    """Forward and backward over this rank's micro-batches, then one update."""
    started = time.monotonic()
    global_count = step.count(layout.indices)
    local_sum = 0.0
    for cell in layout.cells[engine.rank]:
        loss_sum = step.loss(cell)
        local_sum += float(loss_sum.detach())
        engine.backward(loss_sum, global_count)
    grad_norm = engine.step(rate)
    loss = engine.total(local_sum) / global_count
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise StageError("train", f"{task.kind} step {number}", f"loss {loss}, gradient norm {grad_norm}")
    return TrainStep(
        generation=task.generation,
        kind=task.kind,
        step=number,
        loss=loss,
        grad_norm=grad_norm,
        learning_rate=rate,
        num_tokens=sum(lengths[i] for i in layout.indices),
        seconds=time.monotonic() - started,
    )
