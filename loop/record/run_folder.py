"""A run: one folder with its database, models and report, opened and resumed by the driver."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.artifacts import folder_digest, require_free_space
from infra.cluster.connection import free_port
from infra.console import heading, note
from infra.models.folders import resolve_model
from infra.records import ANCHOR_ARM, Checkpoint, now
from infra.store import Store
from infra.store.actor import start_store
from loop.recipe.recipe import Recipe, check_same_recipe
from loop.record.locations import BYTES_BESIDE_MODELS, DATABASE, checked_folder

StageSummary = dict[str, Any]
"""The numbers of a stage by name."""


@dataclass(frozen=True)
class Run:
    """An open run, as every stage gets it."""

    folder: Path
    recipe: Recipe
    store: Store
    salt: str
    builtin_port: int

    @property
    def budgets(self) -> dict[str, int]:
        """The budgets of one generation by name."""
        return self.recipe.budgets()

    @property
    def anchor(self) -> Checkpoint:
        """Generation 0, the base model."""
        anchor = self.store.training.checkpoint(0)
        assert anchor is not None, "a run begins by recording its anchor"
        return anchor

    def model_folder(self, generation: int, arm: str) -> Path:
        """The folder in which a candidate of a generation is made."""
        return self.folder / "models" / f"generation-{generation:03d}-{arm}"

    def work_folder(self, generation: int) -> Path:
        """Scratch space of a generation: training data, metrics, models between training steps."""
        return self.folder / "work" / f"generation-{generation:03d}"

    def stage(self, generation: int, name: str, work: Callable[[], StageSummary]) -> StageSummary:
        """Do a stage unless it is done; its numbers go to the store and to the terminal."""
        done = self.store.run.stage_summary(generation, name)
        if done is not None:
            note(f"{name}: done before ({json.dumps(done)})")
            return done
        heading(name.capitalize())
        self.store.run.start_stage(generation, name)
        summary = work()
        self.store.run.finish_stage(generation, name, summary)
        note(f"{name}: {_in_words(summary)}")
        return summary

    def next_crawl(self) -> int:
        """The first generation whose crawl has not finished."""
        generation = 1
        while self.store.run.stage_summary(generation, "crawl") is not None:
            generation += 1
        return generation

    def remaining(self) -> Iterator[int]:
        """The generations whose gate has not finished, in order."""
        for generation in range(1, self.recipe.generations + 1):
            if self.store.run.stage_summary(generation, "gate") is None:
                heading(f"Generation {generation} of {self.recipe.generations}")
                yield generation
            else:
                note(f"generation {generation} is decided")


def _in_words(numbers: StageSummary) -> str:
    parts = [f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in numbers.items()]
    return ", ".join(parts)


@contextmanager
def open_run(recipe: Recipe, folder: str | None) -> Iterator[Run]:
    """Open or create a run with its store in an actor; publish a snapshot at the end.

    What can be checked without Ray was checked before (`loop.record.input_checks`).

    Raises:
        UserError: if the folder belongs to another recipe.
    """
    path = checked_folder(recipe.name, folder)
    base = resolve_model(recipe.model.base, "model.base")
    store = start_store(str(path / DATABASE), str(path / "snapshots"))
    with _opened(store, recipe, path) as run:
        _install_anchor(run.store, recipe, base)
        yield run


@contextmanager
def open_crawl_run(recipe: Recipe, folder: str | None, in_actor: bool) -> Iterator[Run]:
    """Open or create a run for crawling only, without a model.

    The store is in this process, or with `in_actor` in a Ray actor that others can reach.
    """
    path = checked_folder(recipe.name, folder)
    require_free_space(path, BYTES_BESIDE_MODELS, "--run")
    make_store = start_store if in_actor else Store
    store = make_store(str(path / DATABASE), str(path / "snapshots"))
    with _opened(store, recipe, path) as run:
        yield run


@contextmanager
def _opened(store: Store, recipe: Recipe, path: Path) -> Iterator[Run]:
    """A run with its open store, which is closed at the end.

    Leases that an earlier driver did not give back are released.
    """
    try:
        _check_identity(store, recipe, path)
        facts = store.run.facts()
        store.crawl.release_all_leases()
        heading(f"Run {recipe.name} in {path}")
        note(f"budgets of a generation: {_in_words(dict(recipe.budgets()))}")
        yield Run(path, recipe, store, facts["salt"], int(facts["builtin_port"]))
    finally:
        store.close()


def _check_identity(store: Store, recipe: Recipe, path: Path) -> None:
    """Note the recipe in a new run; refuse a run that another recipe has made."""
    stored = store.run.facts().get("recipe")
    if stored is None:
        # All of them or none: a run that is killed here must not be left half made.
        store.run.set_facts(
            {
                "recipe": json.dumps(recipe.identity(), sort_keys=True),
                "recipe_digest": recipe.digest,
                "salt": secrets.token_hex(16),
                "builtin_port": str(free_port()),
                "created_at": now().isoformat(),
            }
        )
        return
    check_same_recipe(stored, recipe, path)


def _install_anchor(store: Store, recipe: Recipe, base: Path) -> None:
    """Record the base model as generation 0."""
    if store.training.checkpoint(0) is None:
        digest = folder_digest(base)
        anchor = Checkpoint(
            digest, str(base), "", 0, "", recipe.digest, recipe.seed, now(), ANCHOR_ARM
        )
        store.training.add_checkpoint(anchor)
