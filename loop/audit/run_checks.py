"""The run as a whole checked again: its tables, facts, models' origins, and its generations.

The order in which a generation leaves rows says what must be there: crawl, label, train (manifests,
then models), gate (attempt, draws, scores; the decision with its aliases; then what is reported,
and `ratchet.json` in the folders of its models). A run that was killed ends anywhere in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from infra.records import ANCHOR_ARM, Checkpoint, content_key
from infra.store import Store
from infra.store.layout import empty_columns, layout_problems
from infra.store.tables.gate import AUDITED_TABLES
from loop.audit.findings import Finding, changed_fields
from loop.gate.trial.suite_tests import GAIN
from loop.recipe.recipe import Recipe
from loop.record.model_folders import PROVENANCE

STAGES = ("crawl", "label", "train", "gate")
"""The stages of a generation, in order."""
RESTORE = "restore the database from a backup"


def check_tables(store: Store) -> Iterator[Finding]:
    """What is missing or repeated in the tables; nothing if all is there."""
    problems = list(layout_problems(store.database))
    for subject, problem in problems:
        yield Finding(subject, f"{problem}: {RESTORE}")
    if problems:
        return
    for subject, number in empty_columns(store.database, AUDITED_TABLES):
        yield Finding(subject, f"it is empty in {number} rows: {RESTORE}")
    for table in store.gate.repeated_rows():
        yield Finding(f"rows of {table}", "some are there twice")


def check_anchor(store: Store) -> Iterator[Finding]:
    """A run that has any model, attempt or decision has its anchor; nothing if that is so."""
    models = store.training.checkpoints()
    is_used = models or store.gate.attempts() or store.gate.attempts_with_results()
    if is_used and not store.training.candidates(0):
        problem = "the row of its checkpoint is missing, so nothing can be compared with it"
        yield Finding("anchor (generation 0)", f"{problem}: {RESTORE}")


def check_facts(store: Store) -> Iterator[Finding]:
    """The facts about the run fit together, and those in JSON can be read."""
    facts = store.run.facts()
    digest = content_key(json.dumps(json.loads(facts["recipe"]), sort_keys=True))
    changed = "it is not that of the recipe that is stored"
    is_same = facts.get("recipe_digest") == digest
    yield Finding("digest of the recipe", "" if is_same else changed)
    yield Finding("salt", "" if facts.get("salt") else "it is missing")
    for key in sorted(facts):
        if key.startswith("environment/"):
            yield Finding(f"fact {key}", "" if _is_json(facts[key]) else "it is not JSON")
    for generation, name, summary in store.run.summaries():
        if not _is_json(summary):
            yield Finding(f"summary of stage {name} of generation {generation}", "it is not JSON")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class ModelOrigin:
    """What the row of a model says of its origin, against what the run says."""

    def __init__(self, store: Store, recipe: Recipe) -> None:
        self._store, self._seed = store, recipe.seed
        self._recipe_digest = store.run.facts().get("recipe_digest", "")
        self._registered = {
            (row.generation, row.arm): row.registered_at for row in store.gate.attempts()
        }

    def problems(self, model: Checkpoint) -> list[str]:
        """What is wrong with a row, apart from its files and its data."""
        expected = replace(model, recipe_digest=self._recipe_digest, seed=self._seed)
        if model.generation > 0:
            parent = self._store.registry.champion(model.created_at).digest
            expected = replace(expected, parent=parent)
        else:
            expected = replace(expected, parent="", manifest_digest="", arm=ANCHOR_ARM)
        problems = changed_fields(model, expected)
        registered_at = self._registered.get((model.generation, model.arm))
        if registered_at is not None and model.created_at > registered_at:
            problems.append("it was made after its attempt was registered")
        return problems


def check_generations(store: Store, folder: Path) -> Iterator[Finding]:
    """Every generation that has begun has the rows that it must have by then, and no others.

    That a generation is not finished is right for the last one alone.
    """
    traces = _Traces(store, folder)
    before = 0
    for generation in sorted(traces.begun):
        if generation != before + 1:
            yield Finding(f"generation {before + 1}", f"nothing is left of it up to {generation}")
        before = generation
        yield Finding(f"generation {generation}", "; ".join(traces.problems(generation)))
    for path in traces.unknown_models:
        yield Finding(f"model folder {path}", "it was decided, and no row says who made it")


class _Traces:
    """What the generations of a run have left in the store and in the folders of models."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        stages = store.run.stage_times()
        self._started = {(generation, name) for generation, name, *_ in stages}
        self._finished = {(generation, name) for generation, name, _, end in stages if end}
        models = [one for one in store.training.checkpoints() if one.generation > 0]
        self._models = {one.generation for one in models}
        self._attempts = {row.attempt: row.generation for row in store.gate.attempts()}
        self._decisions = {one.generation: one for one in store.gate.lead_decisions()}
        self._manifests = store.training.manifest_generations()
        self._reported = self._reported_generations()
        self._decided_models = {one.generation for one in models if _is_decided(one)}
        known = {Path(one.path).resolve() for one in models}
        self.unknown_models = sorted(
            file.parent
            for file in (folder / "models").glob(f"*/{PROVENANCE}")
            if not file.parent.is_symlink() and file.parent.resolve() not in known
        )
        began = {generation for generation, name in self._started if name != "crawl"}
        rows = (self._models, self._attempts.values(), self._decisions, self._manifests)
        self.begun = began.union(*rows, self._reported)

    def _reported_generations(self) -> set[int]:
        """The generations with rows that are stored after a decision or with it."""
        gate = self._store.gate
        gains = {one.generation for one in gate.evaluations() if one.metric == GAIN}
        events = self._store.registry.alias_history()
        moved = {one.generation for one in events if one.attempt != 0}
        return gains | moved | {one.generation for one in gate.picking_tests()}

    def problems(self, generation: int) -> list[str]:
        """What is wrong with the rows of a generation."""
        problems = [*self._stage_problems(generation), *self._decision_problems(generation)]
        is_last = generation == max(self.begun)
        if not is_last and (generation, "gate") not in self._finished:
            later = min(one for one in self.begun if one > generation)
            problems.append(f"its gate has not finished, and generation {later} has begun")
        return problems

    def _stage_problems(self, generation: int) -> Iterator[str]:
        """A stage that must have begun, or finished, by what is stored."""
        attempted = generation in self._attempts.values()
        uses = (
            ("models", generation in self._models, "train", self._started),
            ("a data manifest", generation in self._manifests, "train", self._started),
            ("a decision", generation in self._decisions, "train", self._started),
            ("an attempt", attempted, "train", self._finished),
            ("an attempt", attempted, "gate", self._started),
        )
        for name, is_there, stage, stages in uses:
            if is_there and (generation, stage) not in stages:
                state = "begun" if stages is self._started else "finished"
                yield f"it has {name}, and its stage {stage} has not {state}"
        for earlier, later in pairwise(STAGES):
            if (generation, later) in self._started and (generation, earlier) not in self._finished:
                yield f"its stage {later} has begun, and its stage {earlier} has not finished"

    def _decision_problems(self, generation: int) -> Iterator[str]:
        decision = self._decisions.get(generation)
        if decision is None:
            if (generation, "gate") in self._finished:
                yield "it has no decision"
            if generation in self._reported:
                yield "it has no decision, and rows that are stored after a decision"
            if generation in self._decided_models:
                yield f"it has no decision, and {PROVENANCE} in the folder of its model has one"
        elif decision.attempt and generation not in self._models:
            yield "it has a decision and no model"
        trained = (generation, "train") in self._finished
        if generation in self._manifests - self._models and trained:
            yield "it has a data manifest and no model"


def _is_decided(model: Checkpoint) -> bool:
    """Whether the gate has written its decision about a model into the model's folder.

    An earlier model with equal weights has the same folder.
    """
    file = Path(model.path) / PROVENANCE
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))["generation"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(noted == model.generation)
