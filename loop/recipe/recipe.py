"""The whole recipe: every section's model joined, budgets derived from one dial, and its digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from crawlers.config import CrawlConfig
from crawlers.sources.sources import make_source
from infra.cluster.connection import ClusterConfig
from infra.config import Section, read_toml, validate, with_overrides
from infra.errors import UserError
from infra.records import content_key
from judges.config import JudgeConfig
from judges.measuring.gold import gold_files, load_gold
from judges.rubrics import load_rubric
from loop.data.policy import DataConfig
from loop.gate.config import GateConfig
from loop.gate.levels import attempt_level, log_threshold
from loop.gate.power import units_needed
from loop.gate.suites.held_out_text import max_documents
from loop.gate.suites.item_files import suite_digest
from loop.gate.suites.lm_eval_tasks import LM_EVAL, task_digest, task_size
from trainers.config import TrainConfig

RECIPES = Path(__file__).parent / "builtin"
OPERATIONAL = ("generations", "cluster")
"""Keys that may change between two starts of one run: they say how long and where, not what."""


class ModelConfig(Section):
    """The base model."""

    base: str = "packaged:smollm2-135m-instruct"
    """The base model, which is generation 0 (the anchor): `packaged:NAME`, `tiny:NAME`,
    `hub:ORG/NAME` or a folder with safetensors weights."""


class BudgetConfig(Section):
    """What one generation may spend. A budget that is not set follows `scale`."""

    pages: int | None = Field(default=None, gt=0)
    """Number of pages to fetch per generation; unset follows `scale`."""
    label_tokens: int | None = Field(default=None, gt=0)
    """Tokens of passages that the labeler judges per generation; unset follows `scale`."""
    train_tokens: int | None = Field(default=None, gt=0)
    """Tokens of samples to train on per generation; unset follows `scale`."""
    gate_tokens: int | None = Field(default=None, gt=0)
    """Tokens of held-out documents to score per attempt at the gate; unset follows `scale`."""
    prompts: int | None = Field(default=None, ge=0)
    """Number of demonstrations with a check that the champion completes per generation; unset
    follows `scale`."""
    instructions: int | None = Field(default=None, ge=0)
    """Number of passages per generation for which questions are written; unset follows `scale`."""


PER_SCALE = {
    "pages": 120,
    "label_tokens": 8_000,
    "train_tokens": 8_000,
    "gate_tokens": 10_000,
    "prompts": 12,
    "instructions": 6,
}
"""What a generation spends at scale 1: some ten thousand tokens each for labeling, training and
deciding."""


class Recipe(Section):
    """Keys outside of any section."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the recipe and of its default run folder: letters, digits, `_`, `.` and `-`."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random choices of labeling and training. Held-out data depend on a salt that each
    run draws."""
    generations: int = Field(ge=1)
    """Number of generations to run."""
    scale: float = Field(default=1.0, gt=0)
    """Factor on every budget that is not set."""
    model: ModelConfig = ModelConfig()
    crawl: CrawlConfig
    judge: JudgeConfig = JudgeConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    gate: GateConfig = GateConfig()
    budget: BudgetConfig = BudgetConfig()
    cluster: ClusterConfig = ClusterConfig()

    def budgets(self) -> dict[str, int]:
        """Every budget of a generation, set or derived from the dial."""
        derived = {name: max(1, round(self.scale * amount)) for name, amount in PER_SCALE.items()}
        return derived | self.budget.model_dump(exclude_none=True)

    def crawl_config(self) -> CrawlConfig:
        """The `[crawl]` section, with gold for labelers and suites of the gate held out from
        training.
        """
        gold = [str(file) for path in self.judge.gold.values() for file in gold_files(Path(path))]
        suites = [suite.file for suite in self.gate.suites.values() if suite.kind != LM_EVAL]
        return self.crawl.model_copy(
            update={"held_out_files": [*self.crawl.held_out_files, *gold, *suites]}
        )

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run, as plain data."""
        data: dict[str, Any] = json.loads(self.model_dump_json(exclude=set(OPERATIONAL)))
        return data | {
            "rubrics": {name: load_rubric(name).digest for name in self.judge.rubric_names()},
            "suites": {
                name: task_digest(suite) if suite.kind == LM_EVAL else suite_digest(name, suite)
                for name, suite in self.gate.suites.items()
            },
        }

    @property
    def digest(self) -> str:
        """Key of the resolved recipe."""
        return content_key(json.dumps(self.identity(), sort_keys=True))


def find_recipe(name: str) -> Path:
    """A recipe by its path, or a built-in one by its name."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return path
    builtin = RECIPES / f"{name}.toml"
    if not builtin.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UserError("recipe", name, "no such recipe.", f"Give a path, or one of: {known}.")
    return builtin


def load_recipe(name: str, overrides: list[str]) -> Recipe:
    """Read, override and check a recipe, across its sections too."""
    recipe = validate(Recipe, with_overrides(read_toml(find_recipe(name)), overrides))
    make_source(recipe.crawl)
    recipe.identity()
    _check_labels(recipe.judge)
    _check_gate(recipe)
    if recipe.crawl.gate_share + recipe.crawl.sealed_share >= 0.9:
        shares = recipe.crawl.gate_share + recipe.crawl.sealed_share
        raise UserError(
            "crawl.gate_share",
            shares,
            "next to nothing is left to train on.",
            "Lower it below 0.9.",
        )
    return recipe


def _check_gate(recipe: Recipe) -> None:
    """Raises `UserError` for a budget that could never show the gain aimed for."""
    gate, tokens = recipe.gate, recipe.budgets()["gate_tokens"]
    for name, suite in gate.suites.items():
        if suite.kind == LM_EVAL:
            task_size(f"gate.suites.{name}.file", suite.file)
        if suite.kind == "judged" and _who(suite.judge) == _who(recipe.judge):
            raise UserError(
                f"gate.suites.{name}.judge",
                suite.judge.kind,
                "it labels the training data as well.",
                "Name another: what labels does not gate.",
            )
    rule, threshold = (
        gate.primary_rule(gate.clip_bits),
        log_threshold(attempt_level(gate.level, gate.alpha, 1, 0)),
    )
    needed, there = (
        units_needed(gate.aim_bits, 0.0, rule, threshold).at_least,
        max_documents(gate, tokens),
    )
    if needed is None or needed > there:
        need = "no number of them" if needed is None else f"at least {needed}"
        problem = f"its first attempt needs {need} held-out documents and budget.gate_tokens pays for {there}."
        remedy = "Aim for more, raise budget.gate_tokens or scale, or see 'ratchet plan'."
        raise UserError("gate.aim_bits", gate.aim_bits, problem, remedy)


def _who(judge: JudgeConfig) -> tuple[str, ...]:
    """What tells one judge from another."""
    return {
        "local": ("local", judge.model),
        "endpoint": ("endpoint", judge.endpoint.url, judge.endpoint.model),
        "scripted": ("scripted", judge.scripted.model_dump_json()),
    }[judge.kind]


def _check_labels(config: JudgeConfig) -> None:
    """Raises `UserError` for gold and prompts that cannot be read, before anything is crawled."""
    measured = {load_rubric(name).id for name in config.rubric_names()}
    for rubric, path in config.gold.items():
        if rubric not in measured:
            raise UserError(
                "judge.gold",
                rubric,
                "this recipe does not label by such a rubric.",
                f"Name one of {', '.join(sorted(measured))}.",
            )
        load_gold(Path(path))
    if config.prompts:
        from judges.making.demonstrations.prompts import read_prompts  # loads the sandbox

        read_prompts(Path(config.prompts), 0)


def stored_recipe(identity: str) -> Recipe:
    """The recipe of a run, from what it stored of it; how many generations were asked for is not
    part of that.
    """
    data = json.loads(identity)
    for derived in ("rubrics", "suites"):
        data.pop(derived)
    return Recipe.model_validate(data | {"generations": 1})


def differing_keys(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two recipes."""
    keys: list[str] = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            keys += differing_keys(a, b, f"{prefix}{name}.")
        elif a != b:
            keys.append(prefix + name)
    return keys
