"""The verb train: the champion is trained on the labels of a generation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.cluster.connection import Cluster
from infra.console import note, warn
from infra.records import Checkpoint, Decision, TrainStep, now
from loop.data.curriculum import Curriculum, summary
from loop.data.policy import breaches, measure_data
from loop.record.model_folders import environment, file_model
from loop.record.run_folder import Run, StageSummary
from loop.training.plan import (
    TrainingFolders,
    generation_curriculum,
    training_tasks,
    usable_steps,
)
from loop.training.rewarders import rewarders
from trainers.launch import run_training, with_workers
from trainers.task import Task


def train(cluster: Cluster, run: Run, generation: int) -> Checkpoint | None:
    """Train the champion: one worker group runs all training steps in turn.

    None if the data policy forbids the training; the decision is then stored as an abort.
    """

    def work() -> StageSummary:
        curriculum = generation_curriculum(run.store, run.recipe, generation)
        note(f"training on {summary(curriculum)}")
        if vetoes := _policy_breaches(run, generation, curriculum):
            return _store_abort(run, generation, vetoes)
        run.store.training.add_manifest(generation, curriculum.items())
        tasks = _run_tasks(cluster, run, generation, curriculum)
        steps = [step for task in tasks for step in task.metrics()]
        run.store.training.add_train_steps(steps)
        _store_candidate(run, generation, curriculum)
        _remove_scratch(run, generation, tasks)
        return _summary(steps)

    run.stage(generation, "train", work)
    return run.store.training.checkpoint(generation)


def _policy_breaches(run: Run, generation: int, curriculum: Curriculum) -> list[str]:
    """Measure the training data, store the measures, and name those that break the data policy."""
    max_held_out = run.recipe.judge.max_held_out_share
    facts = measure_data(run.store, run.recipe.data, generation, curriculum, max_held_out)
    run.store.training.add_data_facts(facts)
    return breaches(facts)


def _run_tasks(cluster: Cluster, run: Run, generation: int, curriculum: Curriculum) -> list[Task]:
    """The tasks of the generation, after they have been run; finished ones are not run again."""
    recipe = run.recipe.model_copy(update={"train": with_workers(run.recipe.train, cluster)})
    kinds = usable_steps(run.store, recipe, generation, curriculum)
    champion, target = run.store.registry.champion().path, str(run.model_folder(generation))
    work = run.work_folder(generation)
    folders = TrainingFolders(champion, run.anchor.path, target, work)
    tasks = training_tasks(recipe, generation, curriculum, kinds, folders)
    if not all(Path(task.target).exists() for task in tasks):
        name = f"generation-{generation:03d}"
        with rewarders(cluster, run.store, run.recipe) as sources:
            run_training(tasks, recipe.train, cluster, _ray_folder(run), name, sources)
    return tasks


def _ray_folder(run: Run) -> Path:
    return run.folder / "ray_train"


def _store_candidate(run: Run, generation: int, curriculum: Curriculum) -> None:
    """Record the trained model, and the software and hardware that made it."""
    run.store.run.set_fact(f"environment/{generation}", json.dumps(environment()))
    folder, digest = file_model(run, generation)
    checkpoint = Checkpoint(
        digest=digest,
        path=str(folder),
        parent=run.store.registry.champion().digest,
        generation=generation,
        manifest_digest=curriculum.digest,
        recipe_digest=run.recipe.digest,
        seed=run.recipe.seed,
        created_at=now(),
    )
    run.store.training.add_checkpoint(checkpoint)


def _remove_scratch(run: Run, generation: int, tasks: Sequence[Task]) -> None:
    """Delete Ray's files and the models between two training steps."""
    shutil.rmtree(_ray_folder(run), ignore_errors=True)
    for task in tasks:
        if task.target != str(run.model_folder(generation)):
            shutil.rmtree(task.target, ignore_errors=True)


def _summary(steps: Sequence[TrainStep]) -> StageSummary:
    losses = {f"{step.kind} loss": f"{step.loss:.4f}" for step in steps}
    return {"steps": len(steps), "tokens": sum(step.num_tokens for step in steps)} | losses


def _store_abort(run: Run, generation: int, vetoes: list[str]) -> StageSummary:
    """Record that the data policy ended the generation.

    No attempt is counted, and the champion stays.
    """
    reason = "not trained: " + "; ".join(vetoes)
    warn(f"generation {generation} is {reason}")
    decision = Decision(
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
    )
    run.store.gate.add_decision(decision)
    return {"steps": 0, "reason": reason}
