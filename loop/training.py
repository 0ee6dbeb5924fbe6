"""A generation's training: its curriculum, its tasks in a chain, and who rewards completions meanwhile."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from infra.cluster import Cluster, actors
from infra.console import warn
from infra.errors import StageError, UserError
from judges.labelers.actor import JudgeWorker, VerifierWorker
from judges.making.passage_steps import selected_passages
from judges.rubrics import load_rubric
from judges.verifying.checks import Claim
from judges.ways import Subject
from loop.curriculum import Curriculum, build_curriculum
from loop.runs import Run
from trainers.config import RL_KINDS
from trainers.rewards import Attempted, Rewarder
from trainers.tasks import Task


def curriculum_of(run: Run, generation: int) -> Curriculum:
    """What a generation is trained on, from what was labeled."""
    demonstrations = run.store.samples(generation, "demonstration")
    has_policy_gradients = any(kind in RL_KINDS for kind in run.recipe.train.steps)
    return build_curriculum(
        passages=selected_passages(
            run.store, run.recipe.judge, generation, run.budgets["train_tokens"], run.recipe.seed
        ),
        demonstrations=demonstrations,
        preferences=run.store.preferences(generation),
        prompts=run.store.samples(generation, "prompt") + demonstrations if has_policy_gradients else [],
        budget_tokens=run.budgets["train_tokens"],
        seed=run.recipe.seed,
        generation=generation,
    )


def usable_steps(run: Run, generation: int, curriculum: Curriculum) -> list[str]:
    """The recipe's training steps that have data enough, and all that they need; others are named."""
    config, kept = run.recipe.train, list[str]()
    num_workers = max(1, config.num_workers)
    for kind in config.steps:
        count = len(curriculum.rows(kind, config))
        if count < num_workers:
            warn(f"{kind} is left out: {count} rows for {num_workers} workers")
        elif kind in RL_KINDS and "reward_model" in config.rl.rewards and "reward_model" not in kept:
            warn(f"{kind} is left out: it needs the reward model, which there is none of")
        elif kind in RL_KINDS and "judge" in config.rl.rewards and _admitted_way(run) is None:
            warn(f"{kind} is left out: the labeler is not admitted to {run.recipe.judge.answer_rubric}")
        else:
            kept.append(kind)
    if all(kind == "reward_model" for kind in kept):
        raise StageError("train", f"generation {generation}", "no training step of the policy has enough data")
    return kept


def tasks_of(run: Run, generation: int, curriculum: Curriculum, kinds: Sequence[str], folder: Path) -> list[Task]:
    """Tasks in a chain from the champion to the candidate's folder; a reward model branches off it."""
    champion, anchor = run.store.champion().path, run.store.checkpoint(0)
    assert anchor is not None, "a run begins by recording its anchor"
    last = [kind for kind in kinds if kind != "reward_model"][-1]
    policy = after_sft = champion
    reward_model, tasks = "", list[Task]()
    for kind in kinds:
        target = str(run.model_folder(generation) if kind == last else folder / kind.replace(":", "."))
        references = {"sft": after_sft, "anchor": anchor.path}
        task = Task(
            kind=kind,
            source=policy,
            target=target,
            generation=generation,
            seed=run.recipe.seed + generation,
            data=str(curriculum.write(kind, folder, run.recipe.train)),
            reference=references[_reference_of(run, kind)] if _reference_of(run, kind) else "",
            reward_model=reward_model if kind in RL_KINDS else "",
            passages=_passages(run, kind, curriculum, folder),
        )
        tasks.append(task)
        if kind == "reward_model":
            reward_model = target
        else:
            policy = target
        after_sft = target if kind in ("pretrain", "sft") else after_sft
    return tasks


def _reference_of(run: Run, kind: str) -> str:
    config = run.recipe.train
    return {
        "dpo": config.dpo.reference,
        "kto": config.kto.reference,
        **dict.fromkeys(RL_KINDS, config.rl.reference),
    }.get(kind, "")


def _passages(run: Run, kind: str, curriculum: Curriculum, folder: Path) -> str:
    """What is mixed into a policy's updates, where the recipe asks for that."""
    if kind not in RL_KINDS or run.recipe.train.rl.pretrain_coefficient == 0:
        return ""
    return str(curriculum.write("pretrain", folder, run.recipe.train))


def _admitted_way(run: Run) -> str | None:
    """How the labeler is asked whether an answer is good; None where it may not be asked."""
    rubric = load_rubric(run.recipe.judge.answer_rubric).id
    ways = [a.way for a in run.store.all_admissions() if a.rubric == rubric and a.admitted]
    return ways[-1] if ways else None


@contextmanager
def rewarders(cluster: Cluster, run: Run) -> Iterator[dict[str, Rewarder]]:
    """The sources of rewards that the recipe names, besides the reward model, for the length of the block."""
    config = run.recipe.train
    names = set(config.rl.rewards) - {"reward_model"} if set(config.steps) & set(RL_KINDS) else set()
    found: dict[str, Rewarder] = {}
    with ExitStack() as stack:
        for name in sorted(names):
            if name == "verifier":
                (actor,) = stack.enter_context(actors(VerifierWorker, 1, num_cpus=0))
                found[name] = VerifierRewarder(actor)
            elif name == "judge":
                judge = (run.recipe.judge, run.recipe.seed, cluster.threads())
                (actor,) = stack.enter_context(actors(JudgeWorker, 1, *judge, num_cpus=0))
                found[name] = JudgeRewarder(actor, run.recipe.judge.answer_rubric, _admitted_way(run) or "")
            else:
                found[name] = own_rewarder(name)
        yield found


def own_rewarder(name: str) -> Rewarder:
    """An instance of the user's class that `module:Class` names."""
    module, _, attribute = name.partition(":")
    try:
        made: Rewarder = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError("train.rl.rewards", name, f"no such source of rewards ({error}).",
                        "Use reward_model, verifier, judge, or your own as module:Class.") from None  # fmt: skip
    return made


@dataclass(frozen=True)
class VerifierRewarder:
    """1 for a completion that the verifier finds right, 0 for one that it finds wrong."""

    actor: Any

    def rewards(self, attempts: Sequence[Attempted]) -> list[float | None]:
        """See `Rewarder`; a prompt without a check has no reward."""
        asked = [i for i, attempt in enumerate(attempts) if attempt.check]
        claims = [Claim(attempts[i].check, attempts[i].reference, attempts[i].completion) for i in asked]
        said = dict(zip(asked, ray.get(self.actor.check.remote(claims)), strict=True))
        return [float(said[i]) if i in said else None for i in range(len(attempts))]


@dataclass(frozen=True)
class JudgeRewarder:
    """The value that an admitted labeler gives a completion; None where it gives none."""

    actor: Any
    rubric: str
    way: str

    def rewards(self, attempts: Sequence[Attempted]) -> list[float | None]:
        """See `Rewarder`."""
        subjects = [Subject(str(i), attempt.prompt, attempt.completion) for i, attempt in enumerate(attempts)]
        answers = ray.get(self.actor.score.remote(load_rubric(self.rubric), self.way, subjects))
        return [answer.value for answer in answers]
