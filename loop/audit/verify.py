"""Checking stored models, data lists, evidence, decisions and aliases again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infra.artifacts import folder_digest
from infra.records import PICKED, RANDOM, Checkpoint
from infra.store import Store
from loop.audit.alias_checks import check_aliases
from loop.audit.attempt_checks import check_attempts
from loop.audit.draw_checks import check_draws
from loop.audit.findings import Finding, StoredScores, changed_fields
from loop.audit.mean_checks import check_means
from loop.audit.run_checks import (
    ModelOrigin,
    check_anchor,
    check_facts,
    check_generations,
    check_tables,
)
from loop.data.curriculum import manifest_digest
from loop.gate.picking_worth import picking_test
from loop.recipe.recipe import Recipe, stored_recipe
from loop.record.facts import recipe_text


def verify(store: Store, folder: Path) -> list[Finding]:
    """Hash every model and manifest again; make every test and decision again from its scores.

    Where tables or values are missing, only that is reported, since nothing else can be read.

    Raises:
        UserError: if the run has no recipe that can be read.
    """
    damages = list(check_tables(store)) or list(check_anchor(store))
    if damages:
        return damages
    recipe = stored_recipe(recipe_text(store.run.facts()))
    models, scores = store.training.checkpoints(), StoredScores(store)
    origin = ModelOrigin(store, recipe)
    return [
        *check_facts(store),
        *(_check_model(store, model, origin) for model in models),
        *(_check_manifest(store, model) for model in models if model.generation > 0),
        *check_generations(store, folder),
        *check_attempts(store, recipe, scores),
        *check_draws(store, recipe),
        *check_aliases(store, folder),
        *check_means(store, recipe, scores),
        *check_picking(store, recipe),
    ]


def _name(model: Checkpoint) -> str:
    return f"generation {model.generation}" + (f", {model.arm}" if model.arm else "")


def _check_model(store: Store, model: Checkpoint, origin: ModelOrigin) -> Finding:
    subject, problems = f"model of {_name(model)}", origin.problems(model)
    is_collected, exists = store.registry.is_collected(model.digest), Path(model.path).is_dir()
    if is_collected and exists:
        problems.append(f"it is marked as deleted, and its folder is there ({model.path})")
    if not exists and not is_collected:
        problems.append(f"its folder is gone ({model.path})")
    if exists and (digest := folder_digest(Path(model.path))) != model.digest:
        problems.append(f"its files changed: {digest[:12]}, not {model.digest[:12]}")
    is_gone = is_collected and not exists
    return Finding(f"{subject} (deleted by gc)" if is_gone else subject, "; ".join(problems))


def _check_manifest(store: Store, model: Checkpoint) -> Finding:
    subject = f"data manifest of {_name(model)}"
    digest = manifest_digest(store.training.manifest(model.generation, model.arm))
    is_same = digest == model.manifest_digest
    return Finding(subject, "" if is_same else "items were added or removed")


def check_picking(store: Store, recipe: Recipe) -> Iterator[Finding]:
    """Make every test of whether picking pays again; one for each generation with a control."""
    aim = recipe.gate_rules()[0]
    stored = {test.generation: test for test in store.gate.picking_tests()}
    finished = set(store.run.finished_generations("gate"))
    controlled = {number for number, *_ in store.gate.attempts_with(PICKED, RANDOM)}
    for generation in sorted(stored.keys() | (finished & controlled)):
        again = picking_test(store, recipe.gate, aim, generation)
        test, problem = stored.get(generation), ""
        if test is None:
            problem = "it is missing" if again else ""
        elif again is None:
            problem = "the generation had no control, or its items are used again"
        else:
            problem = "; ".join(changed_fields(test, again))
        yield Finding(f"evidence of generation {generation} on picking", problem)
