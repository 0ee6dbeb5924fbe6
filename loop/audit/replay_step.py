"""Computing one training step again: its batch from the store, and its loss.

All steps before it are trained again too, in this process and on one rank. Nothing in the run is
changed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.models.folders import name_accelerator
from infra.records import TrainStep
from infra.store import Store
from judges.labelers.actors import JudgeWorker, VerifierWorker
from loop.audit.reproduce import PastTraining, past_training
from loop.recipe.recipe import Recipe
from loop.training.rewarders import make_rewarder, reward_names
from trainers.rollouts.rewards import Rewarder
from trainers.task import Task

LOSS_TOLERANCE = {"float32": 1e-4, "autocast": 0.02, "bfloat16": 0.02}
"""Largest difference of a loss on another number of ranks, relative to max(1, loss)."""


@dataclass(frozen=True)
class ReplayedStep:
    """A step as it was stored and as it was computed again, with its rows."""

    stored: TrainStep
    again: TrainStep
    rows: list[dict[str, Any]]
    tolerance: float

    @property
    def is_same(self) -> bool:
        """Whether rows and loss are the same, within the tolerance."""
        difference = abs(self.stored.loss - self.again.loss) / max(1.0, abs(self.stored.loss))
        return self.stored.row_ids == self.again.row_ids and difference <= self.tolerance


def replay_step(
    store: Store, generation: int, number: int, kind: str | None, arm: str | None
) -> ReplayedStep:
    """Step `number` of a candidate, counted over all kinds of steps, or within `kind`.

    Without the name of an arm it is the candidate that stands for the generation.

    Raises:
        UserError: if there is no such step, or its models or data are gone.
    """
    past = past_training(store, generation, arm)
    recipe = past.arm.recipe
    stored = _stored_step(store, past, number, kind)
    with tempfile.TemporaryDirectory(prefix="ratchet-replay-") as scratch:
        tasks = past.tasks(store, Path(scratch))
        again = _train_until(tasks, recipe, _local_rewarders(store, recipe), stored)
        data = {
            str(row["id"]): row for task in tasks if task.kind == stored.kind for row in task.rows()
        }
    return ReplayedStep(
        stored,
        again,
        [data[row] for row in again.row_ids if row in data],
        LOSS_TOLERANCE[recipe.train.resolved_precision],
    )


def _stored_step(store: Store, past: PastTraining, number: int, kind: str | None) -> TrainStep:
    steps = store.training.train_steps(past.generation, past.arm.name)
    steps.sort(key=lambda s: (past.arm.recipe.train.steps.index(s.kind), s.step))
    chosen = [s for s in steps if kind is None or s.kind == kind]
    if not chosen:
        known = ", ".join(dict.fromkeys(s.kind for s in steps))
        raise UserError("--kind", kind, "no such step was trained.", f"There are {known}.")
    if not 0 <= number < len(chosen):
        problem, remedy = f"there are {len(chosen)} steps.", f"Give 0 to {len(chosen) - 1}."
        raise UserError("STEP", number, problem, remedy)
    return chosen[number]


def _local_rewarders(store: Store, recipe: Recipe) -> Mapping[str, Rewarder]:
    """The rewarders of the recipe, in this process."""
    workers = {
        "verifier": VerifierWorker(),
        "judge": JudgeWorker(recipe.judge, recipe.seed, os.cpu_count() or 1),
    }
    return {
        name: make_rewarder(name, store, recipe, workers) for name in reward_names(recipe.train)
    }


def _train_until(
    tasks: Sequence[Task], recipe: Recipe, sources: Mapping[str, Rewarder], stored: TrainStep
) -> TrainStep:
    """Train on one rank up to this step, and return it."""
    name_accelerator()
    from trainers.engine.engine import one_rank
    from trainers.engine.metrics import MetricsFile
    from trainers.steps.base import StepContext
    from trainers.steps.running import run_task

    config = recipe.train.model_copy(update={"save_steps": 0})
    with one_rank(config.timeout_s):
        for task in tasks:
            is_last = task.kind == stored.kind
            run_task(
                StepContext(task, config, sources),
                MetricsFile(task),
                stored.step + 1 if is_last else None,
            )
            if is_last:
                return task.metrics()[-1]
    raise AssertionError(f"no task of kind {stored.kind}, which was trained")
