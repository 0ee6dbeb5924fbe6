"""How many units the gate needs by a recipe, and how many an attempt can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.errors import UserError
from loop.gate.power import units_needed
from loop.gate.rules import AttemptRule
from loop.gate.suites.held_out_text import max_documents
from loop.gate.suites.items.exam import exam_parts

if TYPE_CHECKING:
    from loop.recipe.recipe import Recipe


def check_power(recipe: Recipe) -> None:
    """Raises `UserError` if the first attempt could not show the gain that the recipe aims for.

    For shares of right answers that is the largest gain: all wrong, and then all right.
    """
    gain, needed, available = _largest_gain(recipe), least_units(recipe, 1), gate_units(recipe)
    if needed is not None and needed <= available:
        return
    least = "more than any number of" if needed is None else f"at least {needed}"
    needs = f"the first attempt needs {least}"
    if recipe.aim.kind == "text":
        problem = f"{needs} held-out documents and budget.gate_tokens pays for {available}."
        remedy = "Raise gate.aim_bits, budget.gate_tokens or scale; see 'ratchet plan'."
        raise UserError("gate.aim_bits", gain, problem, remedy)
    if recipe.aim.kind == "answers":
        raise _too_few_pages(recipe, f"{needs} pages with questions to show a gain of {gain:g}")
    problem = (
        f"{needs} independent items to show a gain of {gain:g}, and the gate part of the exam"
        f" has {available}."
    )
    or_bits = "" if recipe.aim.is_share else " or gate.aim_bits"
    remedy = f"Give more items, or raise aim.exam.items{or_bits}."
    raise UserError("aim.exam.file", recipe.aim.exam.file, problem, remedy)


def _too_few_pages(recipe: Recipe, needs: str) -> UserError:
    """The error about the key that leaves the first attempt too few pages to ask about."""
    items, pages = recipe.aim.answers.items, recipe.budgets()["pages"]
    if items <= held_out_pages(recipe):
        return UserError("aim.answers.items", items, f"{needs}.", "Raise it, or gate.aim_bits.")
    held_out = f"about {held_out_pages(recipe)} of {pages} are held out (crawl.gate_share)"
    remedy = "Raise it, scale, crawl.gate_share or gate.aim_bits."
    return UserError("budget.pages", pages, f"{needs}, and {held_out}.", remedy)


def _largest_gain(recipe: Recipe) -> float:
    """The gain that the recipe aims for; for shares of right answers that from none to all."""
    return 1.0 if recipe.aim.is_share else recipe.gate.aim_bits


def least_units(recipe: Recipe, attempt: int) -> int | None:
    """The units that an attempt needs without noise; None if no number is enough."""
    rule = recipe.gate.primary_rule(recipe.gate_rules()[0].clip)
    threshold = aim_threshold(recipe, attempt)
    return units_needed(_largest_gain(recipe), 0.0, rule, threshold).at_least


def held_out_pages(recipe: Recipe) -> int:
    """About how many of the pages that a generation crawls are held out for the gate."""
    return round(recipe.budgets()["pages"] * recipe.crawl.gate_share)


def gate_units(recipe: Recipe) -> int:
    """The largest number of units on which one attempt can test the aim.

    Held-out documents that the budget pays for, independent items of the exam's gate part, or
    held-out pages with questions, of which the first attempt has about those of one crawl.
    """
    if recipe.aim.kind == "text":
        return max_documents(recipe.gate, recipe.budgets()["gate_tokens"])
    if recipe.aim.kind == "answers":
        return min(recipe.aim.answers.items, held_out_pages(recipe))
    part = exam_parts(recipe.aim.exam).gate
    return min(recipe.aim.exam.items, len({item.unit or key for key, item in part.items()}))


def num_candidates(recipe: Recipe, attempt: int) -> int:
    """The number of candidates that share the level of an attempt, if all can be trained."""
    return 1 + recipe.has_control(attempt) + len(recipe.candidates)


def aim_threshold(recipe: Recipe, attempt: int) -> float:
    """The log evidence that the test of the aim needs in an attempt, before any promotion.

    The candidates share the level, and items that earlier attempts used cost more evidence
    (docs/gate.md).
    """
    rules = recipe.gate_rules()
    counts = [num_candidates(recipe, number) for number in range(1, attempt + 1)]
    return AttemptRule(recipe.gate, attempt, 0, counts, rules).threshold(rules[0])
