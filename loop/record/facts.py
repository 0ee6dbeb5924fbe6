"""What a run noted about itself when it began."""

from __future__ import annotations

from collections.abc import Mapping

from infra.errors import UserError

NO_MODEL_REMEDY = "Run its recipe with 'python loop/run.py'."
"""What to do with a run that has only crawled."""


def recipe_text(facts: Mapping[str, str]) -> str:
    """The recipe of a run as JSON, from the facts about the run.

    Raises:
        UserError: if the run was stopped before it noted its recipe.
    """
    if "recipe" not in facts:
        problem = "this run was stopped before it began."
        raise UserError("--run", None, problem, "Run it again.")
    return facts["recipe"]
