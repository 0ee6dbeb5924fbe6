"""The whole recipe: the models of all sections, budgets derived from `scale`, its digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from crawlers.config import CrawlConfig
from crawlers.sources.sources import make_source
from infra.cluster.connection import ClusterConfig
from infra.config import Section, read_toml, validate, with_overrides
from infra.errors import UserError
from infra.records import PICKED, content_key
from judges.config import JudgeConfig
from judges.measuring.gold import gold_files, load_gold
from judges.rubrics import Rubric, load_rubric
from loop.data.config import DataConfig
from loop.gate.aim import AimConfig
from loop.gate.config import EXAM, GateConfig, SuiteConfig
from loop.gate.rules import SuiteRule, recipe_rules
from loop.gate.suites.items.exam import exam_parts
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.sources import check_task, is_file, items_by_suite, suite_digest
from loop.recipe.candidates import CandidateConfig, changed_sections, check_differs, check_name
from loop.recipe.exam_overlap import check_no_overlap, check_prompts
from loop.recipe.gate_needs import check_power
from loop.recipe.same_judge import same_judge
from loop.recipe.unused_keys import check_aim_keys, check_suite_judges, no_effect
from trainers.config import TrainConfig

RECIPES = Path(__file__).parent / "builtin"
ASKER_KEY = "aim.answers.asker"
MAX_CANDIDATES = 16
OPERATIONAL = ("generations", "cluster")
"""Keys that may change when a run is resumed: they say how long and where it runs."""


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
    """Tokens of passages that the labeler judges per generation; unset follows `scale`. Where
    passages are valued, these are the tokens of development text, and `judge.valued_factor` times
    as many are valued."""
    train_tokens: int | None = Field(default=None, gt=0)
    """Tokens of samples to train on per generation; unset follows `scale`."""
    gate_tokens: int | None = Field(default=None, gt=0)
    """Tokens of held-out documents to score per attempt at the gate; unset follows `scale`."""
    prompts: int | None = Field(default=None, ge=0)
    """Number of demonstrations with a check that the champion completes per generation; unset
    follows `scale`."""
    instructions: int | None = Field(default=None, ge=0)
    """Number of passages per generation for which questions are written; unset follows `scale`."""


MAX_HELD_OUT = 0.9
"""What is held out from training must stay below this share."""
PER_SCALE = {
    "pages": 120,
    "label_tokens": 6_000,
    "train_tokens": 7_000,
    "gate_tokens": 10_000,
    "prompts": 12,
    "instructions": 6,
}
"""The budgets of a generation at scale 1."""


class Recipe(Section):
    """Keys outside of any section."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the recipe and of its default run folder: letters, digits, `_`, `.` and `-`."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random choices of labeling and training. Held-out data depend on a salt that each
    run draws."""
    generations: int = Field(ge=1)
    """Number of generations to run."""
    scale: float = Field(default=1.0, gt=0, le=1e6)
    """Factor on every budget that is not set."""
    model: ModelConfig = ModelConfig()
    aim: AimConfig = AimConfig()
    crawl: CrawlConfig
    judge: JudgeConfig = JudgeConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    gate: GateConfig = GateConfig()
    budget: BudgetConfig = BudgetConfig()
    cluster: ClusterConfig = ClusterConfig()
    control: Literal["random", "none"] = "random"
    """`random`: a generation also trains a candidate on as many tokens of passages drawn at random;
    the gate tests both and promotes the better one."""
    control_every: int = Field(default=1, ge=1)
    """Number of generations from one control to the next; 1 has one in every generation."""
    candidates: dict[str, CandidateConfig] = Field(default={}, max_length=MAX_CANDIDATES)
    """Further candidates by name, `[candidates.NAME]`; at most 16, since they share the level."""

    def budgets(self) -> dict[str, int]:
        """All budgets of a generation; those that are not set follow `scale`."""
        derived = {name: max(1, round(self.scale * amount)) for name, amount in PER_SCALE.items()}
        return derived | self.budget.model_dump(exclude_none=True)

    def crawl_config(self) -> CrawlConfig:
        """The `[crawl]` section, with gold pairs, the files of suites and the user's exam added to
        its held-out files.
        """
        gold = [str(file) for path in self.judge.gold.values() for file in gold_files(Path(path))]
        suites = [suite.file for suite in self.gate_config().suites.values() if is_file(suite)]
        return self.crawl.model_copy(
            update={"held_out_files": [*self.crawl.held_out_files, *gold, *suites]}
        )

    def held_out_items(self) -> list[str]:
        """The right texts of the suites and of the exam whose items come from a package.

        No training text may contain them. Those of files are in `crawl_config`.
        """
        suites = self.gate_config().suites.items()
        items = items_by_suite({name: suite for name, suite in suites if not is_file(suite)})
        return [item.right_text for own in items.values() for item in own.values()]

    def gate_config(self) -> GateConfig:
        """The `[gate]` section, with the user's exam as its first suite if that is the aim."""
        if self.aim.kind != "exam":
            return self.gate
        suites: dict[str, SuiteConfig] = {EXAM: self.aim.exam.suite()}
        return self.gate.model_copy(update={"suites": suites | self.gate.suites})

    def gate_rules(self) -> list[SuiteRule]:
        """The rules of the gate's suites; the first one is that of the aim."""
        return recipe_rules(self.aim, self.gate)

    def gate_judges(self) -> dict[str, JudgeConfig]:
        """The models by key that judge or ask at the gate; none of them may be the labeler."""
        suites = self.gate.suites.items()
        judges = {f"gate.suites.{k}.judge": one.judge for k, one in suites if one.kind == "judged"}
        if self.aim.kind == "answers" and self.aim.answers.passages_per_page:
            judges[ASKER_KEY] = self.aim.answers.asker.judge()
        return judges

    def identity(self) -> dict[str, Any]:
        """Everything that a resumed run must have in common with its start, as plain data."""
        data: dict[str, Any] = json.loads(self.model_dump_json(exclude=set(OPERATIONAL)))
        return data | {
            "rubrics": {name: one.digest for name, one in _rubrics(self.judge).items()},
            "suites": {
                name: suite_digest(name, suite) for name, suite in self.gate_config().suites.items()
            },
        }

    def has_control(self, generation: int) -> bool:
        """Whether the recipe asks for a control in a generation."""
        return self.control == "random" and generation % self.control_every == 0

    def changed(self, candidate: str) -> Recipe:
        """The recipe of a further candidate. Raises `UserError` for keys that are wrong."""
        changes = self.candidates[candidate]
        train, data = changed_sections(candidate, changes, self.train, self.data)
        return self.model_copy(update={"train": train, "data": data})

    @property
    def digest(self) -> str:
        """The key of the resolved recipe."""
        return content_key(json.dumps(self.identity(), sort_keys=True))


def find_recipe(name: str) -> Path:
    """The path of a recipe: a file, or a built-in recipe by its name. Raises `UserError`."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return path
    builtin = RECIPES / f"{name}.toml"
    if not builtin.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UserError("recipe", name, "no such recipe.", f"Give a path, or one of: {known}.")
    return builtin


def load_recipe(name: str, overrides: list[str]) -> Recipe:
    """Read a recipe, apply overrides (`section.key=value`), and check it as a whole.

    Raises:
        UserError: for the first key that is wrong.
    """
    recipe = validate(Recipe, with_overrides(read_toml(find_recipe(name)), overrides))
    make_source(recipe.crawl)
    _check_aim(recipe.aim)
    recipe.identity()
    _check_candidates(recipe)
    _check_unused(recipe)
    _check_labels(recipe)
    _check_gate(recipe)
    held_out = sum(recipe.crawl.held_out_shares().values())
    if held_out >= MAX_HELD_OUT:
        problem = "with crawl.sealed_share and crawl.development_share, too little is left."
        raise UserError("crawl.gate_share", held_out, problem, f"Lower it below {MAX_HELD_OUT}.")
    return recipe


def _check_candidates(recipe: Recipe) -> None:
    """Raises `UserError` for a candidate with a wrong name or key, or that is the same as another.

    The recipe itself is the candidate `picked`.
    """
    others = {PICKED: (recipe.train, recipe.data)}
    for name in recipe.candidates:
        check_name(name)
        changed = recipe.changed(name)
        sections = changed.train, changed.data
        check_differs(name, sections, others)
        others[name] = sections


def _check_unused(recipe: Recipe) -> None:
    """Raises `UserError` for keys that have no effect because of another key."""
    check_aim_keys(recipe.aim)
    check_suite_judges(recipe.gate.suites)
    if recipe.control == "none" and "control_every" in recipe.model_fields_set:
        raise no_effect("control_every", recipe.control_every, "control is none")


def _check_gate(recipe: Recipe) -> None:
    """Raises `UserError` for a wrong suite, or a budget that could never show the gain."""
    for name, suite in recipe.gate.suites.items():
        check_task(name, suite)
    if recipe.aim.kind == "exam":
        check_no_overlap(recipe.aim.exam, recipe.gate.suites)
    check_power(recipe)
    _check_gate_judges(recipe)


def _check_gate_judges(recipe: Recipe) -> None:
    """Raises `UserError` if a model that judges or asks at the gate is the one that labels."""
    for key, judge in recipe.gate_judges().items():
        problem = same_judge(judge, recipe.judge)
        if problem:
            remedy = "Name another judge: the labeler must not decide at the gate."
            if key == ASKER_KEY:
                remedy = "Name another model, or set aim.answers.passages_per_page = 0."
            raise UserError(key, _judge_name(judge), f"{problem}.", remedy)


def _judge_name(judge: JudgeConfig) -> str:
    """A judge as errors name it."""
    model = judge.endpoint.model if judge.kind == "endpoint" else judge.model
    return judge.kind if judge.kind == "scripted" else f"{judge.kind} {model}".strip()


def _check_aim(aim: AimConfig) -> None:
    """Raises `UserError` for an exam that is missing or not valid, or that the aim does not use."""
    exam = aim.exam
    if aim.kind != "exam":
        return
    if not exam.file:
        remedy = "Give a file of JSON lines, or olmo:TASK or lm_eval:TASK."
        raise UserError("aim.exam.file", None, "the aim is an exam, and there is none.", remedy)
    shares = {"development_share": exam.development_share, "sealed_share": exam.sealed_share}
    if sum(shares.values()) >= MAX_HELD_OUT:
        (other, less), (name, share) = sorted(shares.items(), key=lambda item: item[1])
        problem = f"with aim.exam.{other} = {less:g}, too little is left for the gate."
        remedy = f"Lower it below {MAX_HELD_OUT - less:g}."
        raise UserError(f"aim.exam.{name}", share, problem, remedy)
    exam_parts(exam)


def development_items(recipe: Recipe) -> dict[str, FileItem]:
    """The items by id of the exam's development part, which selection may learn from.

    They are never trained on and never decide at the gate. Empty if the aim is no exam.

    Raises:
        UserError: if the exam cannot be read.
    """
    return exam_parts(recipe.aim.exam).development if recipe.aim.kind == "exam" else {}


def _rubrics(config: JudgeConfig) -> dict[str, Rubric]:
    """The rubrics of a labeler by name; raises `UserError` for one that cannot be read."""
    rubrics = {name: load_rubric(name, "judge.passage_rubrics") for name in config.passage_rubrics}
    for key in ("answer_rubric", "correctness_rubric"):
        name = getattr(config, key)
        rubrics[name] = load_rubric(name, f"judge.{key}")
    return rubrics


def _check_labels(recipe: Recipe) -> None:
    """Raises `UserError` for gold pairs or prompts that cannot be read."""
    config = recipe.judge
    measured = {rubric.id for rubric in _rubrics(config).values()}
    for rubric, path in config.gold.items():
        if rubric not in measured:
            raise UserError(
                "judge.gold",
                rubric,
                "this recipe does not use that rubric.",
                f"Name one of {', '.join(sorted(measured))}.",
            )
        load_gold(Path(path), f"judge.gold.{rubric}")
    if config.prompts:
        _check_prompts(recipe)


def _check_prompts(recipe: Recipe) -> None:
    """Raises `UserError` for prompts that cannot be read, or are items of the exam or a suite."""
    from judges.making.demonstrations.prompts import read_prompts  # loads the sandbox

    file = recipe.judge.prompts
    prompts = read_prompts(Path(file), 0)
    if not prompts:
        remedy = "Give a file with at least one prompt, or leave the key out."
        raise UserError("judge.prompts", file, "the file has no prompts.", remedy)
    items = items_by_suite(recipe.gate_config().suites)
    check_prompts(file, prompts, {name: own.values() for name, own in items.items()})


def stored_recipe(identity: str) -> Recipe:
    """The recipe of a run, from its stored identity, which does not hold `generations`.

    Raises:
        UserError: if an earlier version wrote it, with other keys, or it was damaged.
    """
    data = _json_object(identity)
    for derived in ("rubrics", "suites"):
        data.pop(derived, None)
    try:
        return Recipe.model_validate(data | {"generations": 1})
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        problem = f"this run was made by another version of Ratchet (its recipe differs in {key})."
        raise UserError("--run", "", problem, "Use that version, or start a new run.") from None


def _json_object(identity: str) -> dict[str, Any]:
    try:
        data = json.loads(identity)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        problem = "the recipe that is stored in this run is not a JSON object."
        remedy = "Restore its database from a backup, or start a new run with another --run."
        raise UserError("--run", None, problem, remedy)
    return data


def check_same_recipe(stored: str, recipe: Recipe, run: Path) -> None:
    """Refuse to resume a run with another recipe than its own.

    Raises:
        UserError: with the keys that differ.
    """
    keys = differing_keys(json.loads(stored), recipe.identity())
    if keys:
        problem = f"this run was made with another recipe (different: {', '.join(keys[:5])})."
        raise UserError("--run", run, problem, "Give the recipe of the run, or another --run.")


def differing_keys(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys whose values differ between two recipes."""
    keys: list[str] = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            keys += differing_keys(a, b, f"{prefix}{name}.")
        elif a != b:
            keys.append(prefix + name)
    return keys
