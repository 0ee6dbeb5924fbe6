"""What a run noted about itself when it began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def no_such_arm(arm: str, generation: int, arms: Sequence[str]) -> UserError:
    """The error about a candidate that a generation does not have; `arms` are those it has."""
    known = [one for one in arms if one]
    remedy = f"Name one of {', '.join(known)}." if known else "Leave --arm out."
    return UserError("--arm", arm, f"generation {generation} has no such candidate.", remedy)
