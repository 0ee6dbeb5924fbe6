"""A run: one folder with its database, models and report; opened by the driver, resumed by the same
command.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.artifacts import folder_digest, folder_size, require_free_space
from infra.cluster.connection import free_port, in_submitted_job
from infra.console import heading, note
from infra.errors import UserError
from infra.models.folders import check_model, resolve_model
from infra.records import Checkpoint, now
from infra.store import Store
from infra.store.actor import start_store
from loop.recipe.recipe import Recipe, differing_keys

Summary = dict[str, Any]
"""A stage's numbers by name."""
DATABASE = "ratchet.duckdb"
BYTES_BESIDE_MODELS = 500_000_000


def _base() -> Path:
    """What relative paths are relative to: a submitted job works in a passing copy, so there it is
    ~/ratchet.
    """
    return Path.home() / "ratchet" if in_submitted_job() else Path.cwd()


def default_root() -> Path:
    """Where runs go: $RATCHET_RUNS, else `runs` below the base."""
    return Path(os.environ.get("RATCHET_RUNS") or _base() / "runs")


def run_folder(name: str, folder: str | None) -> Path:
    """The folder of a run: the one that was given, or the recipe's name below the default root."""
    return (_base() / folder if folder else default_root() / name).absolute()


def newest_run() -> Path:
    """The run whose database changed last, below ./runs, $RATCHET_RUNS and ~/ratchet/runs."""
    roots = {default_root(), Path("runs"), Path.home() / "ratchet" / "runs"}
    found = [file for root in roots for file in root.glob(f"*/{DATABASE}")]
    if not found:
        raise UserError(
            "--run",
            "",
            "there is no run yet.",
            "Start one with 'python loop/run.py', or give --run.",
        )
    return max(found, key=lambda file: file.stat().st_mtime).parent


@dataclass(frozen=True)
class Run:
    """What every stage works with."""

    folder: Path
    recipe: Recipe
    store: Store
    salt: str
    builtin_port: int

    @property
    def budgets(self) -> dict[str, int]:
        """What a generation may spend."""
        return self.recipe.budgets()

    @property
    def anchor(self) -> Checkpoint:
        """Generation 0, the base model."""
        anchor = self.store.training.checkpoint(0)
        assert anchor is not None, "a run begins by recording its anchor"
        return anchor

    def model_folder(self, generation: int) -> Path:
        """Where the candidate of a generation lies."""
        return self.folder / "models" / f"generation-{generation:03d}"

    def work_folder(self, generation: int) -> Path:
        """Scratch space of a generation: manifests, metrics, models between training steps."""
        return self.folder / "work" / f"generation-{generation:03d}"

    def stage(self, generation: int, name: str, work: Callable[[], Summary]) -> Summary:
        """Do a stage unless it is done; its numbers go to the store and the terminal."""
        done = self.store.run.stage_summary(generation, name)
        if done is not None:
            note(f"{name}: done before ({json.dumps(done)})")
            return done
        heading(name.capitalize())
        self.store.run.start_stage(generation, name)
        result = work()
        self.store.run.finish_stage(generation, name, result)
        note(
            f"{name}: "
            + ", ".join(
                f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in result.items()
            )
        )
        return result

    def next_crawl(self) -> int:
        """The first generation whose crawl has not finished."""
        generation = 1
        while self.store.run.stage_summary(generation, "crawl") is not None:
            generation += 1
        return generation

    def remaining(self) -> Iterator[int]:
        """Generations whose gate has not finished, in order."""
        for generation in range(1, self.recipe.generations + 1):
            if self.store.run.stage_summary(generation, "gate") is None:
                heading(f"Generation {generation} of {self.recipe.generations}")
                yield generation
            else:
                note(f"generation {generation} is decided")


def _check_identity(store: Store, recipe: Recipe, folder: Path) -> None:
    """Note the recipe in a new run; refuse a run that was made by another one."""
    stored = store.run.facts().get("recipe")
    if stored is None:
        store.run.set_fact("recipe", json.dumps(recipe.identity(), sort_keys=True))
        store.run.set_fact("recipe_digest", recipe.digest)
        store.run.set_fact("salt", secrets.token_hex(16))
        store.run.set_fact("builtin_port", str(free_port()))
        store.run.set_fact("created_at", now().isoformat())
        return
    keys = differing_keys(json.loads(stored), recipe.identity())
    if keys:
        raise UserError(
            "--run",
            folder,
            f"this run was made by another recipe (differs in {', '.join(keys[:5])}).",
            "Give the recipe it was made by, or another --run.",
        )


def _install_anchor(store: Store, recipe: Recipe, base: Path) -> None:
    """Record the base model as generation 0."""
    if store.training.checkpoint(0) is None:
        digest = folder_digest(base)
        store.training.add_checkpoint(
            Checkpoint(digest, str(base), "", 0, "", recipe.digest, recipe.seed, now())
        )


def _needed_bytes(base: Path, recipe: Recipe) -> int:
    """Disk for the rest of a run: a folder a generation, one between steps, and the crawl."""
    return (recipe.generations + 1) * folder_size(base) + BYTES_BESIDE_MODELS


def _place(recipe: Recipe, folder: str | None) -> Path:
    place = run_folder(recipe.name, folder)
    if place.exists() and not place.is_dir():
        raise UserError("--run", place, "this is a file.", "Give a folder.")
    return place


@contextmanager
def _opened(store: Store, recipe: Recipe, place: Path) -> Iterator[Run]:
    """A run around its open store, which is closed in the end; leases of a driver that is gone are
    given back.
    """
    try:
        _check_identity(store, recipe, place)
        facts = store.run.facts()
        store.crawl.release_all_leases()
        heading(f"Run {recipe.name} in {place}")
        note(
            "budgets of a generation: "
            + ", ".join(f"{k} {v:,}" for k, v in recipe.budgets().items())
        )
        yield Run(place, recipe, store, facts["salt"], int(facts["builtin_port"]))
    finally:
        store.close()


@contextmanager
def open_run(recipe: Recipe, folder: str | None) -> Iterator[Run]:
    """Open or create a run's folder and its store; on leaving, publish a last snapshot."""
    place = _place(recipe, folder)
    base = resolve_model(recipe.model.base, "model.base")
    check_model(base, "model.base")
    require_free_space(place, _needed_bytes(base, recipe), "--run")
    with _opened(
        start_store(str(place / DATABASE), str(place / "snapshots")), recipe, place
    ) as run:
        _install_anchor(run.store, recipe, base)
        yield run


@contextmanager
def open_crawl_run(recipe: Recipe, folder: str | None, in_actor: bool) -> Iterator[Run]:
    """A run to crawl in, which needs no model; the store is in this process, or in an actor for
    others to reach.
    """
    place = _place(recipe, folder)
    require_free_space(place, BYTES_BESIDE_MODELS, "--run")
    open_store = start_store if in_actor else Store
    with _opened(open_store(str(place / DATABASE), str(place / "snapshots")), recipe, place) as run:
        yield run
