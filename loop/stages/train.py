"""The verb train: from the champion and a generation's data to its candidates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infra.cluster.connection import Cluster
from infra.console import note, warn
from infra.errors import StageError
from infra.records import PICKED, RANDOM, Checkpoint, Decision, TrainStep, now
from loop.data.curriculum import Curriculum, summary
from loop.data.policy import breaches, measure_data
from loop.gate.picking_worth import picking_pays
from loop.record.model_folders import environment, file_model
from loop.record.run_folder import Run, StageSummary
from loop.training.arms import Arm, generation_arms
from loop.training.plan import (
    TrainingFolders,
    arm_curriculum,
    passage_tokens,
    training_tasks,
    usable_steps,
)
from loop.training.rewarders import rewarders
from trainers.config import TrainConfig
from trainers.launch import TrainJob, run_training, with_workers
from trainers.task import Task

LARGEST_DIFFERENCE = 0.05
"""Share by which the tokens of picked and random passages may differ without a warning."""


@dataclass(frozen=True)
class _Plan:
    """A candidate that will be trained: its arm, its data and its tasks."""

    arm: Arm
    curriculum: Curriculum
    tasks: list[Task]

    def jobs(self, config: TrainConfig) -> list[TrainJob]:
        return [TrainJob(task, config) for task in self.tasks]


def train(cluster: Cluster, run: Run, generation: int) -> list[Checkpoint]:
    """Train the candidates of a generation: one worker group runs all their training steps in turn.

    A candidate whose data violate the data policy is not trained; its decision is stored as an
    abort. The list is empty if no candidate was trained.
    """

    def work() -> StageSummary:
        plans = _plans(cluster, run, generation)
        if not plans:
            return {"steps": 0, "reason": "the data policy forbade it"}
        _run_plans(cluster, run, generation, plans)
        summary: StageSummary = {}
        for plan in plans:
            steps = [step for task in plan.tasks for step in task.metrics()]
            run.store.training.add_train_steps(steps)
            _store_candidate(run, generation, plan)
            summary |= _summary(plan.arm.name, steps)
        _compare_tokens(summary)
        _remove_scratch(run, generation, plans)
        return summary

    run.stage(generation, "train", work)
    return run.store.training.candidates(generation)


def _plans(cluster: Cluster, run: Run, generation: int) -> list[_Plan]:
    """The candidates that can be trained, and whose data the data policy allows.

    Raises:
        StageError: if no candidate has enough data.
    """
    plans, aborts, lacks = list[_Plan](), list[Decision](), list[StageError]()
    for arm in generation_arms(run.recipe, generation, picking_pays(run.store, generation)):
        try:
            plan = _plan(cluster, run, generation, arm)
        except StageError as error:
            warn(f"there is no candidate {arm.name}: {error.problem}")
            lacks.append(error)
            continue
        if _same_as(plan, plans):
            note(f"there is no candidate {arm.name}: it would be the same as another one")
        elif vetoes := _policy_breaches(run, generation, plan):
            aborts.append(_abort(run, arm, generation, vetoes))
        else:
            run.store.training.add_manifest(generation, arm.name, plan.curriculum.items())
            plans.append(plan)
    if not plans and lacks:
        raise lacks[0]
    _store_aborts(run, aborts, has_lead=not plans)
    return plans


def _plan(cluster: Cluster, run: Run, generation: int, arm: Arm) -> _Plan:
    champion = Path(run.store.registry.champion().path)
    num_tokens = passage_tokens(champion, arm.recipe.train)
    curriculum = arm_curriculum(run.store, arm, generation, num_tokens)
    note(f"{arm.name}: {summary(curriculum)}")
    return _Plan(arm, curriculum, _tasks(cluster, run, generation, arm, curriculum))


def _same_as(plan: _Plan, others: Sequence[_Plan]) -> bool:
    """Whether a candidate has the data and the training of another one.

    So it is with a control if no training step reads passages.
    """
    key = (plan.curriculum.digest, plan.arm.recipe.train.effect())
    return any(key == (one.curriculum.digest, one.arm.recipe.train.effect()) for one in others)


def _store_aborts(run: Run, aborts: Sequence[Decision], has_lead: bool) -> None:
    """Store aborts; the first one stands for the generation if it has no candidate."""
    run.store.gate.add_decisions(
        [replace(one, is_lead=has_lead and i == 0) for i, one in enumerate(aborts)]
    )


def _policy_breaches(run: Run, generation: int, plan: _Plan) -> list[str]:
    """Measure the training data, store the measures, and name those that break the data policy."""
    arm, max_held_out = plan.arm, plan.arm.recipe.judge.max_held_out_share
    measured = measure_data(run.store, arm.recipe.data, generation, plan.curriculum, max_held_out)
    facts = [replace(fact, arm=arm.name) for fact in measured]
    run.store.training.add_data_facts(facts)
    return breaches(facts)


def _tasks(
    cluster: Cluster, run: Run, generation: int, arm: Arm, curriculum: Curriculum
) -> list[Task]:
    train_config = with_workers(arm.recipe.train, cluster)
    sized = replace(arm, recipe=arm.recipe.model_copy(update={"train": train_config}))
    kinds = usable_steps(run.store, sized.recipe, generation, curriculum)
    folders = TrainingFolders(
        champion=run.store.registry.champion().path,
        anchor=run.anchor.path,
        target=str(run.model_folder(generation, arm.name)),
        work=run.work_folder(generation) / arm.name,
    )
    return training_tasks(sized, generation, curriculum, kinds, folders)


def _run_plans(cluster: Cluster, run: Run, generation: int, plans: Sequence[_Plan]) -> None:
    """Train all candidates in one worker group; finished tasks are not run again."""
    jobs = [job for p in plans for job in p.jobs(with_workers(p.arm.recipe.train, cluster))]
    if not all(Path(job.task.target).exists() for job in jobs):
        name = f"generation-{generation:03d}"
        with rewarders(cluster, run.store, [plan.arm.recipe for plan in plans]) as sources:
            run_training(jobs, cluster, _ray_folder(run), name, sources)


def _ray_folder(run: Run) -> Path:
    return run.folder / "ray_train"


def _store_candidate(run: Run, generation: int, plan: _Plan) -> None:
    """Record a trained model, and the software and hardware that made it."""
    run.store.run.set_fact(f"environment/{generation}", json.dumps(environment()))
    folder, digest = file_model(run, generation, plan.arm.name)
    checkpoint = Checkpoint(
        digest=digest,
        path=str(folder),
        parent=run.store.registry.champion().digest,
        generation=generation,
        manifest_digest=plan.curriculum.digest,
        recipe_digest=run.recipe.digest,
        seed=run.recipe.seed,
        created_at=now(),
        arm=plan.arm.name,
    )
    run.store.training.add_checkpoint(checkpoint)


def _remove_scratch(run: Run, generation: int, plans: Sequence[_Plan]) -> None:
    """Delete Ray's files and the models between two training steps."""
    shutil.rmtree(_ray_folder(run), ignore_errors=True)
    for plan in plans:
        target = str(run.model_folder(generation, plan.arm.name))
        for task in plan.tasks:
            if task.target != target:
                shutil.rmtree(task.target, ignore_errors=True)


def _summary(arm: str, steps: Sequence[TrainStep]) -> StageSummary:
    losses = {f"{arm} {step.kind} loss": f"{step.loss:.4f}" for step in steps}
    tokens = sum(step.num_tokens for step in steps)
    return {f"{arm} steps": len(steps), f"{arm} tokens": tokens} | losses


def _compare_tokens(summary: StageSummary) -> None:
    """Warn if picking and the control were trained on different amounts of text."""
    picked, drawn = (summary.get(f"{arm} tokens") for arm in (PICKED, RANDOM))
    if not isinstance(picked, int) or not isinstance(drawn, int):
        return
    if abs(picked - drawn) > LARGEST_DIFFERENCE * max(picked, drawn):
        problem = f"picked and random were trained on {picked:,} and {drawn:,} tokens"
        warn(f"{problem}; their comparison says little (raise budget.train_tokens)")


def _abort(run: Run, arm: Arm, generation: int, vetoes: list[str]) -> Decision:
    """The decision about a candidate that the data policy forbids.

    No attempt is counted, and the champion stays.
    """
    reason = "not trained: " + "; ".join(vetoes)
    warn(f"candidate {arm.name} of generation {generation} is {reason}")
    return Decision(
        attempt=0,
        generation=generation,
        outcome="abort",
        reason=reason,
        candidate="",
        champion=run.store.registry.champion().digest,
        alpha=0.0,
        log_evidence=0.0,
        log_threshold=0.0,
        num_documents=0,
        mean_gain=0.0,
        is_weak=False,
        decided_at=now(),
        arm=arm.name,
    )
