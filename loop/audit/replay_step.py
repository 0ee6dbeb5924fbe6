"""One training step computed again: its batch from the store, its loss from the model that the
generation began with.

Everything before the step is trained again as well, in this process and on one rank; nothing of the
run is touched.
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
from loop.audit.reproduce import past_training
from loop.recipe.recipe import Recipe, stored_recipe
from loop.stages.train import rewarder_of, sources_of
from trainers.rollouts.rewards import Rewarder
from trainers.task import Task

TOLERANCE = {"float32": 1e-4, "autocast": 0.02, "bfloat16": 0.02}
"""How far a loss may come out otherwise on another number of ranks, relative to 1 or to itself."""


@dataclass(frozen=True)
class ReplayedStep:
    """A step as it was stored and as it comes out again, with its rows."""

    stored: TrainStep
    again: TrainStep
    rows: list[dict[str, Any]]
    tolerance: float

    @property
    def is_same(self) -> bool:
        """Whether rows and loss are what they were."""
        apart = abs(self.stored.loss - self.again.loss) / max(1.0, abs(self.stored.loss))
        return self.stored.row_ids == self.again.row_ids and apart <= self.tolerance


def replay_step(store: Store, generation: int, number: int, kind: str | None) -> ReplayedStep:
    """Step `number` of a generation, counted through all its kinds, or within `kind`. Raises
    `UserError`.
    """
    recipe = stored_recipe(store.run_facts()["recipe"])
    stored = _stored_step(store, recipe, generation, number, kind)
    past = past_training(store, generation)
    recipe = past.recipe
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
        TOLERANCE[recipe.train.resolved_precision],
    )


def _stored_step(
    store: Store, recipe: Recipe, generation: int, number: int, kind: str | None
) -> TrainStep:
    steps = store.train_steps(generation)
    steps.sort(key=lambda s: (recipe.train.steps.index(s.kind), s.step))
    chosen = [s for s in steps if kind is None or s.kind == kind]
    if not chosen:
        known = ", ".join(dict.fromkeys(s.kind for s in steps)) or "none"
        raise UserError(
            "GENERATION",
            generation,
            f"no such training steps; there are {known}.",
            "Choose one of them.",
        )
    if not 0 <= number < len(chosen):
        raise UserError(
            "STEP",
            number,
            f"there are {len(chosen)} steps.",
            f"Give one from 0 to {len(chosen) - 1}.",
        )
    return chosen[number]


def _local_rewarders(store: Store, recipe: Recipe) -> Mapping[str, Rewarder]:
    """The recipe's sources of rewards, in this process."""
    workers = {
        "verifier": VerifierWorker(),
        "judge": JudgeWorker(recipe.judge, recipe.seed, os.cpu_count() or 1),
    }
    return {name: rewarder_of(name, store, recipe, workers) for name in sources_of(recipe.train)}


def _train_until(
    tasks: Sequence[Task], recipe: Recipe, sources: Mapping[str, Rewarder], stored: TrainStep
) -> TrainStep:
    """The step as it comes out on one rank; what comes before it is trained whole."""
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
