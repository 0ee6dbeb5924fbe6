"""From the labels of a generation to its training tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.console import warn
from infra.errors import StageError
from infra.models.folders import load_tokenizer
from infra.models.text_size import TokenCount, estimated_tokens
from infra.records import Sample
from infra.store import Store
from judges.making.passages.passage_steps import random_passages, selected_passages
from loop.data.curriculum import Curriculum, choose_demonstrations, shown_texts
from loop.data.policy import earlier_samples
from loop.recipe.recipe import Recipe
from loop.training.arms import Arm
from loop.training.rewarders import answer_admission
from trainers.config import PREFERENCE_KINDS, RL_KINDS, TrainConfig
from trainers.task import Task, file_stem


@dataclass(frozen=True)
class TrainingFolders:
    """The folders of a generation's training: models to start from, its result, scratch space."""

    champion: str
    anchor: str
    target: str
    work: Path


@dataclass(frozen=True)
class _DataNeeds:
    """Which kinds of data the training steps of a recipe read."""

    passages: bool
    demonstrations: bool
    preferences: bool
    prompts: bool

    def reads(self, sample: Sample) -> bool:
        """Whether a step reads a sample of an earlier generation."""
        return self.demonstrations if sample.prompt else self.passages


def _data_needs(config: TrainConfig) -> _DataNeeds:
    steps = set(config.steps)
    has_rl = bool(steps & set(RL_KINDS))
    mixes_text = has_rl and config.rl.pretrain_coefficient > 0
    reads_answers = bool(steps - {"pretrain", *PREFERENCE_KINDS, *RL_KINDS})
    return _DataNeeds(
        passages=reads_answers or mixes_text or "pretrain" in steps,
        demonstrations=reads_answers,
        preferences=bool(steps & set(PREFERENCE_KINDS)),
        prompts=has_rl,
    )


def arm_curriculum(store: Store, arm: Arm, generation: int, num_tokens: TokenCount) -> Curriculum:
    """What a candidate is trained on; only data that a training step of its recipe reads.

    A token budget is filled with samples of earlier generations, with demonstrations for at most a
    quarter of the rest, and with passages. All preferences and prompts are taken. The data of two
    arms differ in their passages alone, and these have the same number of tokens by `num_tokens`,
    unless a further candidate changes `[data]` or the training steps.

    Raises:
        StageError: if there is nothing to train on.
    """
    needs, labels = _data_needs(arm.recipe.train), store.labels
    known = labels.samples(generation, "demonstration")
    shared = _shared_samples(store, arm.recipe, generation, needs, known)
    curriculum = Curriculum(
        [*_arm_passages(store, arm, generation, needs, shared, num_tokens), *shared],
        labels.preferences(generation) if needs.preferences else [],
        [*labels.samples(generation, "prompt"), *known] if needs.prompts else [],
    )
    if not curriculum.items():
        problem = "the labeler kept nothing to train on; crawl more pages or select more of them"
        raise StageError("train", f"generation {generation}", problem)
    return curriculum


def passage_tokens(champion: Path, config: TrainConfig) -> TokenCount:
    """Count the tokens of a passage that are trained, by the tokenizer of the model to train."""
    from trainers.batches.rows import RowBuilder  # slow to import

    rows = RowBuilder(load_tokenizer(champion, "train"), config.max_tokens)
    return lambda text: rows.passage(text).num_trained


def _shared_samples(
    store: Store, recipe: Recipe, generation: int, needs: _DataNeeds, known: Sequence[Sample]
) -> list[Sample]:
    """Demonstrations, and samples of earlier generations: they are the same in every arm."""
    budget, seed = recipe.budgets()["train_tokens"], recipe.seed
    earlier_tokens = int(recipe.data.earlier_share * budget)
    held_out = recipe.judge.max_held_out_share
    earlier = earlier_samples(store, generation, earlier_tokens, seed, held_out, needs.reads)
    left = budget - _budget_tokens(earlier)
    chosen = choose_demonstrations(known, left, seed) if needs.demonstrations else []
    ids = {s.sample_id for s in chosen}
    return [*chosen, *(s for s in earlier if s.sample_id not in ids)]


def _arm_passages(
    store: Store,
    arm: Arm,
    generation: int,
    needs: _DataNeeds,
    shared: Sequence[Sample],
    num_tokens: TokenCount,
) -> list[Sample]:
    """The passages of an arm, for what the shared samples leave of the budget."""
    if not needs.passages:
        return []
    recipe = arm.recipe
    config, left = recipe.judge, recipe.budgets()["train_tokens"] - _budget_tokens(shared)
    shown = shown_texts([s for s in shared if s.prompt])
    if not arm.is_random:
        return selected_passages(store, config, generation, left, recipe.seed, shown)
    return random_passages(store, config, generation, left, recipe.seed, shown, num_tokens)


def _budget_tokens(samples: Sequence[Sample]) -> int:
    return sum(estimated_tokens(s.prompt + s.completion) for s in samples)


def usable_steps(
    store: Store, recipe: Recipe, generation: int, curriculum: Curriculum
) -> list[str]:
    """The training steps of the recipe that have enough data and everything else they need.

    Steps that are left out are named in a warning.

    Raises:
        StageError: if no step is left that trains the policy.
    """
    kept = list[str]()
    for kind in recipe.train.steps:
        if problem := _missing(kind, kept, store, recipe, curriculum):
            warn(f"{kind} is left out: {problem}")
        else:
            kept.append(kind)
    if all(kind == "reward_model" for kind in kept):
        problem = "no training step of the policy has enough data"
        raise StageError("train", f"generation {generation}", problem)
    return kept


def _missing(
    kind: str, kept: Sequence[str], store: Store, recipe: Recipe, curriculum: Curriculum
) -> str:
    """What a training step lacks; empty if it lacks nothing."""
    config = recipe.train
    num_rows = len(curriculum.rows(kind, config))
    if num_rows < config.min_items:
        return f"it has {num_rows} rows and needs {config.min_items}, one for each worker"
    if kind not in RL_KINDS:
        return ""
    if "reward_model" in config.rl.rewards and "reward_model" not in kept:
        return "it needs a reward model, and none was trained"
    if "judge" in config.rl.rewards and answer_admission(store, recipe) is None:
        return f"the labeler is not admitted for {recipe.judge.answer_rubric}"
    return ""


def training_tasks(
    arm: Arm,
    generation: int,
    curriculum: Curriculum,
    kinds: Sequence[str],
    folders: TrainingFolders,
) -> list[Task]:
    """A chain of tasks from the champion to the candidate; a reward model branches off the chain.

    Also writes the data of each task into the work folder.
    """
    config = arm.recipe.train
    last = [kind for kind in kinds if kind != "reward_model"][-1]
    policy = after_sft = folders.champion
    reward_model, tasks = "", list[Task]()
    for kind in kinds:
        target = folders.target if kind == last else str(folders.work / file_stem(kind))
        references = {"sft": after_sft, "anchor": folders.anchor, "": ""}
        mixes_text = kind in RL_KINDS and config.rl.pretrain_coefficient > 0
        passages = str(curriculum.write("pretrain", folders.work, config)) if mixes_text else ""
        task = Task(
            kind=kind,
            source=policy,
            target=target,
            generation=generation,
            arm=arm.name,
            seed=arm.recipe.seed + generation,
            data=str(curriculum.write(kind, folders.work, config)),
            reference=references[_reference_name(config, kind)],
            reward_model=reward_model if kind in RL_KINDS else "",
            passages=passages,
        )
        tasks.append(task)
        if kind == "reward_model":
            reward_model = target
        else:
            policy = target
        after_sft = target if kind in ("pretrain", "sft") else after_sft
    return tasks


def _reference_name(config: TrainConfig, kind: str) -> str:
    """The name of the reference model of a training step; empty if it has none."""
    names = {
        "dpo": config.dpo.reference,
        "kto": config.kto.reference,
        **dict.fromkeys(RL_KINDS, config.rl.reference),
    }
    return names.get(kind, "")
