"""The arms of a generation: which candidates it trains, and how the data of each are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from infra.records import PICKED, RANDOM
from loop.recipe.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """A way to make a candidate.

    `recipe` is the run's recipe with the arm's own `[train]` and `[data]`.
    """

    name: str
    recipe: Recipe
    is_random: bool
    """Whether passages are drawn at random and not picked."""


def generation_arms(recipe: Recipe, generation: int, picking_pays: bool) -> list[Arm]:
    """The arms of a generation, the one that stands for it first.

    If picking was shown not to pay, the first arm draws at random, and so do further candidates.
    The picked arm is then trained beside it as often as the control otherwise: picking may
    pay again. It is left out if passages are not judged any more.
    """
    picked, drawn = Arm(PICKED, recipe, False), Arm(RANDOM, recipe, True)
    first, second = (picked, drawn) if picking_pays else (drawn, picked)
    has_second = recipe.has_control(generation) and judges_passages(recipe, picking_pays)
    further = [Arm(name, recipe.changed(name), not picking_pays) for name in recipe.candidates]
    return [first, *([second] if has_second else []), *further]


def judges_passages(recipe: Recipe, picking_pays: bool) -> bool:
    """Whether passages are still valued and judged (`judge.stop_when_useless`)."""
    stops = recipe.judge.stop_when_useless
    stops = recipe.gate.level == "strict" if stops is None else stops
    return picking_pays or not stops


def find_arm(recipe: Recipe, generation: int, name: str, picking_pays: bool) -> Arm:
    """The arm of this name, as the generation was trained with it."""
    arms = {arm.name: arm for arm in generation_arms(recipe, generation, picking_pays)}
    return arms[name]
