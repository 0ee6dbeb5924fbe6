"""Checks of everything that a recipe names, before Ray starts; the quick ones come first.

What needs only the recipe and small files was checked when it was loaded. Nothing here imports Ray,
and torch only for the last check, which loads the base model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from crawlers.keeping.held_out import held_out_texts
from infra.artifacts import folder_size, require_free_space
from infra.errors import UserError
from infra.models.folders import check_model, check_reference, resolve_model
from infra.plugins import find_class
from infra.store.database import LOCK_WAIT_S
from infra.store.queries.generations import run_facts
from infra.store.reader import open_reader
from loop.recipe.recipe import Recipe, check_same_recipe
from loop.recipe.same_judge import check_other_weights
from loop.record.item_lengths import check_items_fit
from loop.record.locations import BYTES_BESIDE_MODELS, DATABASE, checked_folder


def check_inputs(recipe: Recipe, folder: str | None) -> None:
    """Check the run's folder and database, models, files and own classes of the recipe, the disk.

    Raises:
        UserError: for the first input that cannot be used.
    """
    path = checked_folder(recipe.name, folder)
    _check_files(recipe)
    for key, reference in _models(recipe):
        check_reference(reference, key)
    for key, judge in recipe.gate_judges().items():
        check_other_weights(f"{key}.model", judge, recipe.judge)
    _check_database(recipe, path)
    _check_own_classes(recipe)
    base = resolve_model(recipe.model.base, "model.base")
    require_free_space(path, _needed_bytes(base, recipe), "--run")
    check_model(base, "model.base")
    check_items_fit(recipe, base)


def _check_files(recipe: Recipe) -> None:
    """Read all held-out files, so that a wrong one does not end the run after the crawl."""
    files = recipe.crawl.held_out_files  # the others were read with the recipe
    for file in files:
        if not Path(file).is_file():
            problem = "there is no such file."
            raise UserError("crawl.held_out_files", file, problem, "Give the path of a file.")
    for _ in held_out_texts(files):
        pass


def _models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(key, reference) of each model that the recipe names and this cluster loads."""
    yield "model.base", recipe.model.base
    if recipe.judge.kind == "local":
        yield "judge.model", recipe.judge.model
    for key, judge in recipe.gate_judges().items():
        if judge.kind == "local":
            yield f"{key}.model", judge.model


def _check_database(recipe: Recipe, path: Path) -> None:
    """Open the database of an existing run, and compare the recipe."""
    if (path / DATABASE).exists():
        with open_reader(path, wait_s=LOCK_WAIT_S) as reader:
            stored = run_facts(reader).get("recipe")
        if stored is not None:
            check_same_recipe(stored, recipe, path)


def _check_own_classes(recipe: Recipe) -> None:
    """Import the user's own training steps and rewarders, those of further candidates too."""
    sections = {"train": recipe.train} | {
        f"candidates.{name}.train": recipe.changed(name).train for name in recipe.candidates
    }
    for section, train in sections.items():
        _check_classes(f"{section}.steps", train.steps)
        _check_classes(f"{section}.rl.rewards", train.rl.rewards)


def _check_classes(key: str, names: Iterable[str]) -> None:
    for name in names:
        if ":" in name:
            module, _, attribute = name.partition(":")
            remedy = "Write it as module:Class, with the module on the path."
            find_class(module, attribute, key, name, "it cannot be imported", remedy)


def _needed_bytes(base: Path, recipe: Recipe) -> int:
    """Disk for a run: one model for each generation, one between steps, and the crawl."""
    return (recipe.generations + 1) * folder_size(base) + BYTES_BESIDE_MODELS
