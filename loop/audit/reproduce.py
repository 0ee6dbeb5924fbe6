"""Training a generation again from the store, and comparing the models."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from infra.artifacts import file_digest, folder_digest
from infra.cluster.connection import Cluster
from infra.errors import UserError
from infra.records import Checkpoint
from infra.store import Store
from loop.data.curriculum import Curriculum
from loop.gate.picking_worth import picking_pays
from loop.recipe.recipe import stored_recipe
from loop.record.facts import no_such_arm, recipe_text
from loop.training.arms import Arm, find_arm
from loop.training.plan import (
    TrainingFolders,
    arm_curriculum,
    passage_tokens,
    training_tasks,
    usable_steps,
)
from loop.training.rewarders import rewarders
from trainers.launch import TrainJob, run_training
from trainers.task import Task


@dataclass(frozen=True)
class PastTraining:
    """What a candidate was trained with; its recipe has the number of ranks that there were."""

    arm: Arm
    generation: int
    curriculum: Curriculum
    made: Checkpoint
    champion: Checkpoint
    anchor: Checkpoint

    def tasks(self, store: Store, scratch: Path) -> list[Task]:
        """The same training tasks again; the last one writes to `candidate` in `scratch`."""
        folders = TrainingFolders(
            self.champion.path, self.anchor.path, str(scratch / "candidate"), scratch
        )
        kinds = usable_steps(store, self.arm.recipe, self.generation, self.curriculum)
        return training_tasks(self.arm, self.generation, self.curriculum, kinds, folders)


def past_training(store: Store, generation: int, arm: str | None) -> PastTraining:
    """The recipe, data and models with which a candidate was trained.

    Without the name of an arm it is the candidate that stands for the generation.

    Raises:
        UserError: if it was not trained, or its models or data are gone.
    """
    recipe = stored_recipe(recipe_text(store.run.facts()))
    made = trained_candidate(store, generation, arm)
    steps = store.training.train_steps(generation, made.arm)
    # The plan of the steps depends on how many workers there could have been.
    workers = int(json.loads(steps[0].metrics)["min_items"])
    named = find_arm(recipe, generation, made.arm, picking_pays(store, generation))
    train = named.recipe.train.model_copy(update={"num_workers": workers})
    own = replace(named, recipe=named.recipe.model_copy(update={"train": train}))
    champion = _existing(store.training.checkpoint_by_digest(made.parent), generation)
    anchor = _existing(store.training.checkpoint(0), generation)
    num_tokens = passage_tokens(Path(champion.path), own.recipe.train)
    curriculum = arm_curriculum(store, own, generation, num_tokens)
    if curriculum.digest != made.manifest_digest:
        problem = "some of its data are gone (pages were forgotten, perhaps)."
        remedy = "Only a generation with all its data can be trained again."
        raise UserError("GENERATION", generation, problem, remedy)
    return PastTraining(own, generation, curriculum, made, champion, anchor)


def trained_candidate(store: Store, generation: int, arm: str | None) -> Checkpoint:
    """A candidate that was trained in this run. Raises `UserError` if there is none."""
    made = store.training.checkpoint(generation, arm)
    if made is not None and store.training.train_steps(generation, made.arm):
        return made
    arms = [one.arm for one in store.training.candidates(generation)]
    if arm is not None and arm not in arms:
        raise no_such_arm(arm, generation, arms)
    problem = "its training did not finish, or never began."
    raise UserError("GENERATION", generation, problem, "Resume the run first.")


def _existing(model: Checkpoint | None, generation: int) -> Checkpoint:
    assert model is not None, "a parent and the anchor are recorded before a candidate"
    if not Path(model.path).exists():
        problem = f"a model that its training started from is gone ({model.path})."
        raise UserError("GENERATION", generation, problem, "Put the folder back.")
    return model


@dataclass(frozen=True)
class Reproduction:
    """The stored digest, the digest of the model trained again, and the files that differ."""

    stored: str
    again: str
    differing: list[str] | None
    """None if the folder of the stored model is gone, as after `ratchet gc`."""

    @property
    def is_same(self) -> bool:
        """Whether the two are the same model, bit for bit."""
        return self.stored == self.again


def reproduce(store: Store, cluster: Cluster, past: PastTraining) -> Reproduction:
    """Train a generation again with as many ranks as it had; nothing in the run is changed.

    On CPU in float32 the result is equal bit for bit if the processor has the same instruction
    sets. Elsewhere kernels may add in another order.
    """
    with tempfile.TemporaryDirectory(prefix="ratchet-reproduce-") as scratch:
        folder = Path(scratch)
        tasks = past.tasks(store, folder)
        jobs = [TrainJob(task, past.arm.recipe.train) for task in tasks]
        with rewarders(cluster, store, [past.arm.recipe]) as sources:
            run_training(jobs, cluster, folder / "ray_train", "reproduction", sources)
        again = folder / "candidate"
        return Reproduction(
            past.made.digest, folder_digest(again), differing_files(Path(past.made.path), again)
        )


def differing_files(one: Path, other: Path) -> list[str] | None:
    """Names of the files in `other` that are missing in `one` or differ there; None without it."""
    if not one.is_dir():
        return None
    return [
        path.name
        for path in sorted(other.iterdir())
        if not (one / path.name).is_file() or file_digest(one / path.name) != file_digest(path)
    ]
