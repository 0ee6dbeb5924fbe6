"""Rewards for completions: from the verifier, an admitted labeler, or a class of the user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from infra.cluster.connection import Cluster, actors
from infra.cluster.proxy import remote_proxy
from infra.plugins import find_class
from infra.records.labeler import Admission
from infra.store import Store
from judges.judgment.elicitation import Subject
from judges.labelers.actors import JudgeWorker, VerifierWorker
from judges.rubrics import load_rubric
from judges.verifying.checks import Claim
from loop.recipe.recipe import Recipe
from loop.record.spending import Spending
from trainers.config import RL_KINDS, TrainConfig
from trainers.rollouts.rewards import Rewarder, RewardRequest


def answer_admission(store: Store, recipe: Recipe) -> Admission | None:
    """The labeler's last admission for the answer rubric; None if it is not admitted."""
    rubric = load_rubric(recipe.judge.answer_rubric).id
    admitted = [a for a in store.labelers.all_admissions() if a.rubric == rubric and a.admitted]
    return admitted[-1] if admitted else None


def reward_names(config: TrainConfig) -> list[str]:
    """The names of the rewards that the training steps use, except the reward model."""
    if not set(config.steps) & set(RL_KINDS):
        return []
    return sorted(set(config.rl.rewards) - {"reward_model"})


@contextmanager
def rewarders(
    cluster: Cluster, store: Store, recipes: Sequence[Recipe]
) -> Iterator[dict[str, Rewarder]]:
    """The rewarders that these recipes name, by name; their actors end with the block.

    The recipes are those of the candidates of one generation: they have the same labeler.
    """
    recipe, threads = recipes[0], cluster.threads()
    names = sorted({name for one in recipes for name in reward_names(one.train)})
    num_verifiers, num_judges = int("verifier" in names), int("judge" in names)
    spending = Spending(store, recipe.judge)
    arguments = recipe.judge, recipe.seed, threads, spending.amount
    with (
        actors(VerifierWorker, num_verifiers, num_cpus=0) as verifiers,
        actors(JudgeWorker, num_judges, *arguments, num_cpus=0) as judges,
    ):
        started = {"verifier": verifiers, "judge": judges}
        workers = {name: remote_proxy(some[0]) for name, some in started.items() if some}
        try:
            yield {name: make_rewarder(name, store, recipe, workers) for name in names}
        finally:
            if "judge" in workers:
                spending.pay(workers["judge"].cost() - spending.amount)


def make_rewarder(name: str, store: Store, recipe: Recipe, workers: Mapping[str, Any]) -> Rewarder:
    """A rewarder by its name.

    `workers` holds a `VerifierWorker` as "verifier" and a `JudgeWorker` as "judge", or proxies of
    such actors.
    """
    if name == "verifier":
        return VerifierRewarder(workers[name])
    if name == "judge":
        admission = answer_admission(store, recipe)
        method = admission.method if admission else ""
        return JudgeRewarder(workers[name], recipe.judge.answer_rubric, method)
    return own_rewarder(name)


def own_rewarder(name: str) -> Rewarder:
    """An instance of the user's class `module:Class`.

    Raises:
        UserError: if there is no such class.
    """
    module, _, attribute = name.partition(":")
    remedy = "Use reward_model, verifier, judge, or your own class as module:Class."
    problem = "no such source of rewards"
    rewarder_class = find_class(module, attribute, "train.rl.rewards", name, problem, remedy)
    rewarder: Rewarder = rewarder_class()
    return rewarder


@dataclass(frozen=True)
class VerifierRewarder(Rewarder):
    """1 for a completion that the verifier finds right, 0 for a wrong one."""

    verifier: VerifierWorker

    @override
    def rewards(self, attempts: Sequence[RewardRequest]) -> list[float | None]:
        """None for a prompt without a check."""
        rewards: list[float | None] = [None] * len(attempts)
        indices = [i for i, attempt in enumerate(attempts) if attempt.check]
        checked = [attempts[i] for i in indices]
        claims = [Claim(one.check, one.reference, one.completion) for one in checked]
        for i, is_right in zip(indices, self.verifier.check(claims), strict=True):
            rewards[i] = float(is_right)
        return rewards


@dataclass(frozen=True)
class JudgeRewarder(Rewarder):
    """The value that an admitted labeler gives a completion; None if it is unscored."""

    judge: JudgeWorker
    rubric: str
    method: str

    @override
    def rewards(self, attempts: Sequence[RewardRequest]) -> list[float | None]:
        subjects = [Subject(str(i), one.prompt, one.completion) for i, one in enumerate(attempts)]
        answers = self.judge.score(load_rubric(self.rubric), self.method, subjects)
        return [answer.value for answer in answers]
