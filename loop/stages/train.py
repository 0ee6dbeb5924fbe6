"""A generation's training: its curriculum, its tasks in a chain, and who rewards completions
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.cluster.connection import Cluster, actors
from infra.console import warn
from infra.errors import StageError
from infra.plugins import find_class
from infra.records.labeler import Admission
from infra.store import Store
from infra.store.actor import remote_proxy
from judges.judgment.elicitation import Subject
from judges.labelers.actors import JudgeWorker, VerifierWorker
from judges.making.passages.passage_steps import selected_passages
from judges.rubrics import load_rubric
from judges.verifying.checks import Claim
from loop.data.curriculum import Curriculum, build_curriculum
from loop.data.policy import earlier_samples
from loop.recipe.recipe import Recipe
from trainers.config import PREFERENCE_KINDS, RL_KINDS, TrainConfig
from trainers.rollouts.rewards import Attempted, Rewarder
from trainers.task import Task, file_stem


@dataclass(frozen=True)
class Places:
    """Where a generation's training starts, what it may refer to, where it ends, and its scratch
    space.
    """

    champion: str
    anchor: str
    target: str
    work: Path


def curriculum_of(store: Store, recipe: Recipe, generation: int) -> Curriculum:
    """What a generation is trained on, from what was labeled: nothing that no step of the recipe
    reads.
    """
    demonstrations, steps = store.samples(generation, "demonstration"), set(recipe.train.steps)
    has_policy_gradients = bool(steps & set(RL_KINDS))
    mixes = has_policy_gradients and recipe.train.rl.pretrain_coefficient > 0
    has_language = mixes or bool(steps - {*PREFERENCE_KINDS, *RL_KINDS})
    budget = recipe.budgets()["train_tokens"]
    again = int(recipe.data.earlier_share * budget) if has_language else 0
    return build_curriculum(
        passages=selected_passages(store, recipe.judge, generation, budget, recipe.seed)
        if has_language
        else [],
        demonstrations=demonstrations if has_language else [],
        preferences=store.preferences(generation) if steps & set(PREFERENCE_KINDS) else [],
        prompts=store.samples(generation, "prompt") + demonstrations
        if has_policy_gradients
        else [],
        budget_tokens=budget,
        seed=recipe.seed,
        generation=generation,
        earlier=earlier_samples(
            store, generation, again, recipe.seed, recipe.judge.max_held_out_share
        )
        if again
        else [],
    )


def usable_steps(
    store: Store, recipe: Recipe, generation: int, curriculum: Curriculum
) -> list[str]:
    """The recipe's training steps that have data enough, and all that they need; others are named."""
    config, kept = recipe.train, list[str]()
    for kind in config.steps:
        count = len(curriculum.rows(kind, config))
        if count < config.min_items:
            warn(f"{kind} is left out: {count} rows for {config.min_items} workers")
        elif (
            kind in RL_KINDS and "reward_model" in config.rl.rewards and "reward_model" not in kept
        ):
            warn(f"{kind} is left out: it needs the reward model, which there is none of")
        elif (
            kind in RL_KINDS
            and "judge" in config.rl.rewards
            and answer_admission(store, recipe) is None
        ):
            warn(f"{kind} is left out: the labeler is not admitted to {recipe.judge.answer_rubric}")
        else:
            kept.append(kind)
    if all(kind == "reward_model" for kind in kept):
        raise StageError(
            "train", f"generation {generation}", "no training step of the policy has enough data"
        )
    return kept


def tasks_of(
    recipe: Recipe, generation: int, curriculum: Curriculum, kinds: Sequence[str], places: Places
) -> list[Task]:
    """Tasks in a chain from the champion to the candidate's folder; a reward model branches off it."""
    config = recipe.train
    last = [kind for kind in kinds if kind != "reward_model"][-1]
    policy = after_sft = places.champion
    reward_model, tasks = "", list[Task]()
    for kind in kinds:
        target = places.target if kind == last else str(places.work / file_stem(kind))
        mixes = kind in RL_KINDS and config.rl.pretrain_coefficient > 0
        tasks.append(
            Task(
                kind=kind,
                source=policy,
                target=target,
                generation=generation,
                seed=recipe.seed + generation,
                data=str(curriculum.write(kind, places.work, config)),
                reference={"sft": after_sft, "anchor": places.anchor, "": ""}[
                    _reference_of(config, kind)
                ],
                reward_model=reward_model if kind in RL_KINDS else "",
                passages=str(curriculum.write("pretrain", places.work, config)) if mixes else "",
            )
        )
        if kind == "reward_model":
            reward_model = target
        else:
            policy = target
        after_sft = target if kind in ("pretrain", "sft") else after_sft
    return tasks


def _reference_of(config: TrainConfig, kind: str) -> str:
    """Which model a kind of step stays near; empty for one that does not."""
    named = {
        "dpo": config.dpo.reference,
        "kto": config.kto.reference,
        **dict.fromkeys(RL_KINDS, config.rl.reference),
    }
    return named.get(kind, "")


def answer_admission(store: Store, recipe: Recipe) -> Admission | None:
    """On what grounds, and how, the labeler is asked whether an answer is good; None where it may
    not be asked.
    """
    rubric = load_rubric(recipe.judge.answer_rubric).id
    found = [a for a in store.all_admissions() if a.rubric == rubric and a.admitted]
    return found[-1] if found else None


def sources_of(config: TrainConfig) -> list[str]:
    """The sources of rewards besides the reward model, where a step asks for any."""
    return (
        sorted(set(config.rl.rewards) - {"reward_model"})
        if set(config.steps) & set(RL_KINDS)
        else []
    )


@contextmanager
def rewarders(cluster: Cluster, store: Store, recipe: Recipe) -> Iterator[dict[str, Rewarder]]:
    """The recipe's sources of rewards in processes of their own, for the length of the block."""
    names = sources_of(recipe.train)
    threads = cluster.threads()
    with (
        actors(VerifierWorker, int("verifier" in names), num_cpus=0) as verifiers,
        actors(
            JudgeWorker, int("judge" in names), recipe.judge, recipe.seed, threads, num_cpus=0
        ) as judges,
    ):
        workers = {
            name: remote_proxy(found[0])
            for name, found in (("verifier", verifiers), ("judge", judges))
            if found
        }
        yield {name: rewarder_of(name, store, recipe, workers) for name in names}


def rewarder_of(name: str, store: Store, recipe: Recipe, workers: Mapping[str, Any]) -> Rewarder:
    """A source of rewards by its name. `workers` are a `VerifierWorker` and a `JudgeWorker`, here
    or far away.
    """
    if name == "verifier":
        return VerifierRewarder(workers[name])
    if name == "judge":
        admission = answer_admission(store, recipe)
        return JudgeRewarder(
            workers[name], recipe.judge.answer_rubric, admission.method if admission else ""
        )
    return own_rewarder(name)


def own_rewarder(name: str) -> Rewarder:
    """An instance of the user's class that `module:Class` names."""
    module, _, attribute = name.partition(":")
    remedy = "Use reward_model, verifier, judge, or your own as module:Class."
    made: Rewarder = find_class(
        module, attribute, "train.rl.rewards", name, "no such source of rewards", remedy
    )()
    return made


@dataclass(frozen=True)
class VerifierRewarder:
    """1 for a completion that the verifier finds right, 0 for one that it finds wrong."""

    verifier: VerifierWorker

    def rewards(self, attempts: Sequence[Attempted]) -> list[float | None]:
        """See `Rewarder`; a prompt without a check has no reward."""
        asked = [i for i, attempt in enumerate(attempts) if attempt.check]
        claims = [
            Claim(attempts[i].check, attempts[i].reference, attempts[i].completion) for i in asked
        ]
        said = dict(zip(asked, self.verifier.check(claims), strict=True))
        return [float(said[i]) if i in said else None for i in range(len(attempts))]


@dataclass(frozen=True)
class JudgeRewarder:
    """The value that an admitted labeler gives a completion; None where it gives none."""

    judge: JudgeWorker
    rubric: str
    method: str

    def rewards(self, attempts: Sequence[Attempted]) -> list[float | None]:
        """See `Rewarder`."""
        subjects = [
            Subject(str(i), attempt.prompt, attempt.completion)
            for i, attempt in enumerate(attempts)
        ]
        return [
            answer.value
            for answer in self.judge.score(load_rubric(self.rubric), self.method, subjects)
        ]
