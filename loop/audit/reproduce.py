"""A generation trained again from what the store holds: is it the same model?"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.artifacts import file_digest, folder_digest
from infra.cluster.connection import Cluster
from infra.errors import UserError
from infra.records import Checkpoint
from infra.store import Store
from loop.data.curriculum import Curriculum
from loop.recipe.recipe import Recipe, stored_recipe
from loop.training.plan import TrainingFolders, generation_curriculum, training_tasks, usable_steps
from loop.training.rewarders import rewarders
from trainers.launch import run_training
from trainers.task import Task


@dataclass(frozen=True)
class PastTraining:
    """What a generation was trained with; `recipe` says how many ranks there were."""

    recipe: Recipe
    generation: int
    curriculum: Curriculum
    made: Checkpoint
    champion: Checkpoint
    anchor: Checkpoint

    def tasks(self, store: Store, scratch: Path) -> list[Task]:
        """Its training steps once more, ending in `candidate` below a scratch folder."""
        places = TrainingFolders(
            self.champion.path, self.anchor.path, str(scratch / "candidate"), scratch
        )
        kinds = usable_steps(store, self.recipe, self.generation, self.curriculum)
        return training_tasks(self.recipe, self.generation, self.curriculum, kinds, places)


def past_training(store: Store, generation: int) -> PastTraining:
    """Recipe, data and models of a generation that was trained. Raises `UserError` where any is
    gone.
    """
    recipe = stored_recipe(store.run.facts()["recipe"])
    made, steps = store.training.checkpoint(generation), store.training.train_steps(generation)
    if made is None or not steps:
        raise UserError(
            "GENERATION",
            generation,
            "it was not trained, or not to its end.",
            "Resume the run first.",
        )
    workers = int(
        json.loads(steps[0].metrics)["min_items"]
    )  # the plan of steps depends on how many there could be
    recipe = recipe.model_copy(
        update={"train": recipe.train.model_copy(update={"num_workers": workers})}
    )
    champion, anchor = (
        store.training.checkpoint_by_digest(made.parent),
        store.training.checkpoint(0),
    )
    assert champion is not None, "a candidate's parent is recorded before it"
    assert anchor is not None, "a run begins by recording its anchor"
    for model in (champion, anchor):
        if not Path(model.path).exists():
            raise UserError(
                "GENERATION",
                generation,
                f"the model it began with is gone ({model.path}).",
                "Put the folder back.",
            )
    curriculum = generation_curriculum(store, recipe, generation)
    if curriculum.digest != made.manifest_digest:
        raise UserError(
            "GENERATION",
            generation,
            "its data are not all there any more (forgotten pages?).",
            "Only a generation whose data are all there can be trained again.",
        )
    return PastTraining(recipe, generation, curriculum, made, champion, anchor)


@dataclass(frozen=True)
class Reproduction:
    """The digest that was stored, the one that came out again, and the files that differ."""

    stored: str
    again: str
    differing: list[str]

    @property
    def is_same(self) -> bool:
        """Whether the two are the same model, bit for bit."""
        return self.stored == self.again


def reproduce(store: Store, cluster: Cluster, generation: int) -> Reproduction:
    """Train a generation again with as many ranks as it had; nothing of the run is touched.

    Bit-equal on the same hardware on CPU in float32; elsewhere kernels may add in another order.
    """
    past = past_training(store, generation)
    with tempfile.TemporaryDirectory(prefix="ratchet-reproduce-") as scratch:
        folder = Path(scratch)
        tasks = past.tasks(store, folder)
        with rewarders(cluster, store, past.recipe) as sources:
            run_training(
                tasks, past.recipe.train, cluster, folder / "ray_train", "reproduction", sources
            )
        again = folder / "candidate"
        return Reproduction(
            past.made.digest, folder_digest(again), _differing(Path(past.made.path), again)
        )


def _differing(one: Path, other: Path) -> list[str]:
    """Names of the second folder's files that are not the same in the first; all of them where that
    is gone.
    """
    return [
        path.name
        for path in sorted(other.iterdir())
        if not (one / path.name).is_file() or file_digest(one / path.name) != file_digest(path)
    ]
