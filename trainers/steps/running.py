"""Runs a task from its source, or from a resume point, to its target."""

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
from trainers.engine.resume_points import ResumePoint, latest_resume_point, write_resume_point
from trainers.steps.base import MakeStep, StepContext, TrainerStep
from trainers.steps.language import Pretraining, SupervisedFineTuning
from trainers.steps.policy_gradient import PolicyGradient
from trainers.steps.preferences import DirectPreferenceOptimisation, KahnemanTverskyOptimisation
from trainers.steps.ranking import RewardModelling
from trainers.task import Task

StepReport = Callable[[TrainStep, int], None]
"""Called with each step and the total number of steps."""

STEP_KINDS: dict[str, MakeStep] = {
    "pretrain": Pretraining,
    "sft": SupervisedFineTuning,
    "reward_model": RewardModelling,
    "dpo": DirectPreferenceOptimisation,
    "kto": KahnemanTverskyOptimisation,
    **dict.fromkeys(RL_KINDS, PolicyGradient),
}


def step_kind(name: str) -> MakeStep:
    """Return a built-in kind, or the class named by `module:Class`. Raises `UserError` if it cannot
    be imported.
    """
    if name in STEP_KINDS:
        return STEP_KINDS[name]
    module, _, attribute = name.partition(":")
    kind: MakeStep = find_class(
        module, attribute, "train.steps", name, "cannot be imported", "Write it as module:Class."
    )
    return kind


def run_task(context: StepContext, report: StepReport, stop_before: int | None = None) -> None:
    """Train one step kind from `task.source` to `task.target`; every rank calls it.

    With `stop_before`, it ends before that step and exports nothing.
    """
    task, config = context.task, context.config
    step = step_kind(task.kind)(context)
    try:
        _write_facts(step, task)
        step.prepare()
        start = resume(step, context)
        for number in range(start, step.num_steps if stop_before is None else stop_before):
            report(_timed(step, number, context), step.num_steps)
            num_done = number + 1
            is_due = config.save_steps and num_done % config.save_steps == 0
            if is_due and num_done < step.num_steps:
                save(step, context, num_done)
        if stop_before is None:
            step.export(Path(task.target))
    finally:
        for engine in step.engines.values():
            engine.close()
    if stop_before is None and dist.get_rank() == 0:
        shutil.rmtree(task.points_folder(), ignore_errors=True)


def _write_facts(step: TrainerStep, task: Task) -> None:
    """Write the engines' actual settings next to the data."""
    facts = {name: engine.facts for name, engine in step.engines.items()}
    if dist.get_rank() == 0:
        task.sibling_path("engine.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _timed(step: TrainerStep, number: int, context: StepContext) -> TrainStep:
    started = time.monotonic()
    result = step.run(number)
    return TrainStep(
        generation=context.task.generation,
        arm=context.task.arm,
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
    """Write a resume point."""
    parts = {name: engine.state() for name, engine in step.engines.items()}
    task = context.task
    write_resume_point(
        task.points_folder(), num_steps, task.digest, parts, first=dist.get_rank() == 0
    )
    dist.barrier()


def resume(step: TrainerStep, context: StepContext) -> int:
    """Load the last valid resume point of this task; return the number of finished steps."""
    engine = next(iter(step.engines.values()))
    task = context.task
    latest = latest_resume_point(task.points_folder(), task.digest) if engine.rank == 0 else None
    facts = engine.broadcast((latest.num_steps, str(latest.folder)) if latest else None)
    if facts is None:
        return 0
    point = ResumePoint(facts[0], Path(facts[1]))
    for name, own in step.engines.items():
        own.load_state(point.load(name))
    return point.num_steps
