"""Runs whose generations the gate has decided, with models of known quality and no training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.artifacts import folder_digest
from infra.records import ANCHOR_ARM, PICKED, Checkpoint, Decision, Document, now, unit_hash
from infra.store import Store
from judges.verifying.checks import Claim
from judges.verifying.verifier import VerifiedDocument
from loop.data.curriculum import manifest_digest
from loop.gate.picking_worth import picking_test
from loop.gate.suites.base import Scorer
from loop.gate.suites.recipe_suites import SuiteMaker, recipe_suites
from loop.gate.trial.context import GateContext, Rivals
from loop.gate.trial.trial import run_attempt
from loop.recipe.recipe import load_recipe
from loop.record.model_folders import file_model, link_champion, write_provenance
from loop.record.run_folder import Run
from tests.infra.support.store_rows import add_documents

ITEMS = [("passage", "a"), ("preference", "b")]
NUM_DOCUMENTS = 24
"""Documents of the gate pool that come with each generation."""
SALT = "salt"
OVERRIDES = ("aim.policy=lenient-1", "aim.balanced=false", "gate.reuse_documents=false")


class QualityScorer(Scorer):
    """Models that need their quality (bits a byte) less than others; each has some luck by text."""

    def __init__(self, qualities: Sequence[float], num_candidates: int) -> None:
        self._qualities, self.num_candidates = list(qualities), num_candidates

    def problem(self, candidate: int) -> str:
        return ""

    def keep(self, candidates: Sequence[int]) -> None:
        assert list(candidates) == list(range(self.num_candidates))

    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        return [
            [
                1.5 - quality + 0.02 * unit_hash("luck", str(quality), parts[0])
                for parts in documents
            ]
            for quality in self._qualities
        ]

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """The better a model, the likelier is a text that begins with `right`."""
        return [
            [-1.0 - (0.0 if text.startswith("right") else quality) for _, text in pairs]
            for quality in self._qualities
        ]

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return [["7"] * len(prompts)] * (self.num_candidates + 1)

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return [["7"] * len(prompts) for _ in self._qualities]

    def lm_eval(self, task: str, indices: Sequence[int]) -> list[list[float]]:
        raise NotImplementedError(task)

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        varied = [[f"word{i} other{i} third{i}", f"{i}a {i}b {i}c"] for i in range(len(prompts))]
        return [varied for _ in self._qualities]

    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        return [[0.1] * len(prompts) for _ in self._qualities]


class NoExamples:
    """A verifier for pages without examples."""

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        return []

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        return [claim.text == claim.reference for claim in claims]


def new_run(folder: Path, overrides: Sequence[str] = ()) -> Run:
    """A run that has its anchor and nothing else."""
    store = Store(str(folder / "ratchet.duckdb"), str(folder / "snapshots"))
    recipe = load_recipe("quickstart", [*OVERRIDES, *overrides])
    identity = json.dumps(recipe.identity(), sort_keys=True)
    facts = {"recipe": identity, "recipe_digest": recipe.digest, "salt": SALT}
    store.run.set_facts(facts)
    anchor = folder / "base"
    anchor.mkdir()
    (anchor / "model.safetensors").write_bytes(b"anchor")
    store.training.add_checkpoint(
        Checkpoint(
            folder_digest(anchor), str(anchor), "", 0, "", recipe.digest, 0, now(), ANCHOR_ARM
        )
    )
    return Run(folder, recipe, store, SALT, 1)


def add_model(run: Run, generation: int, arm: str = PICKED) -> Checkpoint:
    """A candidate as training leaves it: filed and recorded, with its data manifest."""
    stages = run.store.run
    for stage in ("crawl", "label"):
        stages.start_stage(generation, stage)
        stages.finish_stage(generation, stage, {})
    stages.start_stage(generation, "train")
    model_path = run.model_folder(generation, arm)
    model_path.mkdir(parents=True)
    weights = f"{generation} {arm}".encode()
    (model_path / "model.safetensors").write_bytes(weights * 100)
    (model_path / "config.json").write_text("{}")
    folder, digest = file_model(run, generation, arm)
    parent = run.store.registry.champion().digest
    manifest = manifest_digest(ITEMS)
    recipe = run.recipe
    model = Checkpoint(
        digest, str(folder), parent, generation, manifest, recipe.digest, recipe.seed, now(), arm
    )
    run.store.training.add_checkpoint(model)
    run.store.training.add_manifest(generation, arm, ITEMS)
    return model


def decide_generation(run: Run, generation: int, gains: Mapping[str, float]) -> Decision:
    """Decide about candidates that are better than the champion by these gains (bits a byte)."""
    store = run.store
    add_documents(store, [_document(generation, i) for i in range(NUM_DOCUMENTS)])
    candidates = [add_model(run, generation, arm) for arm in gains]
    store.run.finish_stage(generation, "train", {})
    rules = run.recipe.gate_rules()
    anchor = store.training.checkpoint(0)
    assert anchor is not None
    rivals = Rivals.at(store.registry, anchor, [rule.name for rule in rules], None)
    number = store.gate.register_attempt(candidates, rivals.champion.digest)
    store.run.start_stage(generation, "gate")
    maker = SuiteMaker(store, run.recipe.gate, run.salt, NoExamples(), {})
    qualities = _qualities(run, rivals, candidates, gains)
    context = GateContext(
        store=store,
        config=run.recipe.gate,
        suites=recipe_suites(run.recipe.aim, run.budgets["gate_tokens"], maker),
        scorer=QualityScorer(qualities, len(candidates)),
        verifier=NoExamples(),
        generation=generation,
        number=number,
        candidates=candidates,
        rivals=rivals,
        salt=run.salt,
    )
    decision = run_attempt(context)
    test = picking_test(store, run.recipe.gate, rules[0], generation)
    if test:
        store.gate.add_picking_test(test)
    by_arm = {one.arm: one for one in store.gate.decisions(generation)}
    for candidate in candidates:
        write_provenance(store, candidate, by_arm[candidate.arm])
    link_champion(run.folder, store.registry.champion())
    store.run.finish_stage(generation, "gate", {})
    return decision


def _document(generation: int, i: int) -> Document:
    name = f"g{generation}d{i}"
    text = f"text {name} of a held-out page"
    return Document(name, f"p{name}", f"u{name}", "t", text, "en", "x", "gate", generation)


def _qualities(
    run: Run, rivals: Rivals, candidates: Sequence[Checkpoint], gains: Mapping[str, float]
) -> list[float]:
    """The quality of each model of a scorer; the anchor's is 0, each promotion adds its gain."""
    known = json.loads(run.store.run.facts().get("qualities", "{}")) | {rivals.anchor.digest: 0.0}
    for one in candidates:
        known[one.digest] = known[rivals.champion.digest] + gains[one.arm]
    run.store.run.set_fact("qualities", json.dumps(known))
    return [known[model.digest] for model in rivals.models(candidates)]
