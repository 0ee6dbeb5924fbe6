"""Running a task: from its source, or from where it was stopped, to its target."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from infra.plugins import find_class
from infra.records import TrainStep
from trainers.config import RL_KINDS
from trainers.engine.resume_points import Point, latest_point, write_point
from trainers.steps.base import MakeStep, StepContext, TrainerStep
from trainers.steps.language import Pretraining, SupervisedFineTuning
from trainers.steps.policy_gradient import PolicyGradient
from trainers.steps.preferences import DirectPreferenceOptimisation, KahnemanTverskyOptimisation
from trainers.steps.ranking import RewardModelling
from trainers.task import Task

Report = Callable[[TrainStep, int], None]
"""Told of each step, and of how many there are."""

KINDS: dict[str, MakeStep] = {
    "pretrain": Pretraining,
    "sft": SupervisedFineTuning,
    "reward_model": RewardModelling,
    "dpo": DirectPreferenceOptimisation,
    "kto": KahnemanTverskyOptimisation,
    **dict.fromkeys(RL_KINDS, PolicyGradient),
}


def step_kind(name: str) -> MakeStep:
    """A built-in kind, or the class that `module:Class` names."""
    if name in KINDS:
        return KINDS[name]
    module, _, attribute = name.partition(":")
    found: MakeStep = find_class(
        module, attribute, "train.steps", name, "cannot be imported", "Write it as module:Class."
    )
    return found


def run_task(context: StepContext, report: Report, stop_before: int | None = None) -> None:
    """Train one step kind from `task.source` into `task.target`; every rank calls it.

    With `stop_before` it ends before that step and exports nothing.
    """
    task, config = context.task, context.config
    step = step_kind(task.kind)(context)
    try:
        _write_facts(step, task)
        step.prepare()
        start = resume(step, context)
        for number in range(start, step.num_steps if stop_before is None else stop_before):
            report(_timed(step, number, context), step.num_steps)
            if (
                config.save_steps
                and (number + 1) % config.save_steps == 0
                and number + 1 < step.num_steps
            ):
                save(step, context, number + 1)
        if stop_before is None:
            step.export(Path(task.target))
    finally:
        for engine in step.engines.values():
            engine.close()
    if stop_before is None and dist.get_rank() == 0:
        shutil.rmtree(task.points_folder(), ignore_errors=True)


def _write_facts(step: TrainerStep, task: Task) -> None:
    """Note what the engines really run with beside the data."""
    facts = {name: engine.facts for name, engine in step.engines.items()}
    if dist.get_rank() == 0:
        task.beside("engine.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _timed(step: TrainerStep, number: int, context: StepContext) -> TrainStep:
    started = time.monotonic()
    result = step.run(number)
    return TrainStep(
        generation=context.task.generation,
        kind=context.task.kind,
        step=number,
        loss=result.loss,
        grad_norm=result.grad_norm,
        learning_rate=result.learning_rate,
        num_tokens=result.num_tokens,
        seconds=time.monotonic() - started,
        row_ids=result.row_ids,
        metrics=json.dumps(
            result.metrics
            | {
                "skipped": sum(e.skipped_steps for e in step.engines.values()),
                "min_items": context.config.min_items,
            }
        ),
    )


def save(step: TrainerStep, context: StepContext, num_steps: int) -> None:
    """Write a point to resume from."""
    parts = {name: engine.state() for name, engine in step.engines.items()}
    task = context.task
    write_point(task.points_folder(), num_steps, task.digest, parts, first=dist.get_rank() == 0)
    dist.barrier()


def resume(step: TrainerStep, context: StepContext) -> int:
    """Take up the last good point of this task; the number of steps that are done."""
    engine = next(iter(step.engines.values()))
    task = context.task
    found = latest_point(task.points_folder(), task.digest) if engine.rank == 0 else None
    place = engine.broadcast((found.num_steps, str(found.folder)) if found else None)
    if place is None:
        return 0
    point = Point(place[0], Path(place[1]))
    for name, one in step.engines.items():
        one.load_state(point.load(name))
    return point.num_steps
