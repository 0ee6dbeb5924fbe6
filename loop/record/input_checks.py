"""Checks before Ray starts. What the recipe itself names was checked when it was loaded."""

from __future__ import annotations

from infra.models.folders import check_model, resolve_model
from infra.store.database import open_database
from loop.recipe.recipe import Recipe
from loop.record.locations import DATABASE
from loop.record.run_folder import checked_folder


def check_inputs(recipe: Recipe, folder: str | None) -> None:
    """Check the run's folder, its database, and the base model.

    Raises:
        UserError: for the first input that cannot be used.
    """
    database = checked_folder(recipe, folder) / DATABASE
    if database.exists():
        open_database(str(database)).close()
    check_model(resolve_model(recipe.model.base, "model.base"), "model.base")
