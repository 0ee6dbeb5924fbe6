"""Who scores, answers and judges while the gate decides, each in a process of its own for that
long.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from infra.cluster.connection import Cluster, actors
from infra.records import Checkpoint, Decision
from infra.store.actor import remote_proxy
from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.labelers.actors import JudgeWorker, RemoteJudge, VerifierWorker
from judges.making.context import Verifier
from judges.making.preferences.judged import tested_errors
from judges.rubrics import load_rubric
from loop.gate.suites.answers import Referee, labeler_suite, labelers_prompts, measured, suites_of
from loop.gate.suites.base import BITS, Suite
from loop.gate.suites.scorer import ModelScorer, SharedScorer
from loop.gate.trial.contenders import Rivals
from loop.gate.trial.sealed_exam import Exam
from loop.gate.trial.trial import Trial
from loop.record.run_folder import Run
from loop.stages.train import answer_admission

JUDGES_SHARE = 0.4
"""Of each GPU, where a judge of the gate runs on this cluster's own."""


def attempt(cluster: Cluster, run: Run, generation: int, candidate: Checkpoint) -> Decision:
    """One attempt at promoting the candidate; it is registered before any held-out document is
    drawn.
    """
    config, store = run.recipe.gate, run.store
    best = {name: store.alias(f"best:{name}") for name in (BITS, *config.suites)}
    rivals = Rivals(
        store.champion(), run.anchor, {name: model for name, model in best.items() if model}
    )
    number = store.register_attempt(generation, candidate.digest, rivals.champion.digest)
    with ExitStack() as stack:
        staff = _Staff(cluster, run, stack, generation)
        verifier = staff.verifier()
        judges = {
            name: staff.referee(suite.judge)
            for name, suite in config.suites.items()
            if suite.kind == "judged"
        }
        suites = suites_of(store, config, run.budgets["gate_tokens"], run.salt, verifier, judges)
        return Trial(
            store=store,
            config=config,
            suites=[*suites, *staff.labelers_word()],
            scorer=staff.scorer([model.path for model in rivals.models(candidate)]),
            verifier=verifier,
            generation=generation,
            number=number,
            candidate=candidate,
            rivals=rivals,
            salt=run.salt,
        ).run()


def examine(cluster: Cluster, run: Run, candidate: Checkpoint, decision: Decision) -> None:
    """The sealed exam of a promoted champion, once."""
    anchor = run.anchor
    folders, gpus = [candidate.path, anchor.path], min(1, cluster.num_gpus)
    with actors(ModelScorer, 1, folders, cluster.threads(), num_gpus=gpus) as scorers:
        exam = Exam(run.store, run.recipe.gate, SharedScorer(scorers), decision, anchor, run.salt)
        if exam.is_due():
            exam.sit()


class _Staff:
    """Starts processes that end with `stack`."""

    def __init__(self, cluster: Cluster, run: Run, stack: ExitStack, generation: int) -> None:
        self._cluster, self._run, self._stack = cluster, run, stack
        config = run.recipe.gate
        self._prompts = labelers_prompts(run.store, generation, config.labeler_prompts)
        self._admission = answer_admission(run.store, run.recipe) if self._prompts else None
        self._num_scorers = min(config.num_workers, max(1, cluster.num_cpus)) or max(
            1, cluster.num_gpus
        )
        judges = [suite.judge for suite in config.suites.values() if suite.kind == "judged"]
        judges += [run.recipe.judge] if self._admission else []
        local = sum(judge.kind == "local" for judge in judges)
        self._scorer_gpus, self._judge_gpus = gpu_shares(cluster.num_gpus, self._num_scorers, local)

    def scorer(self, folders: list[str]) -> SharedScorer:
        """These models side by side, in as many processes as the recipe says."""
        threads = self._cluster.threads(self._num_scorers if not self._cluster.num_gpus else 1)
        started = actors(
            ModelScorer, self._num_scorers, folders, threads, num_gpus=self._scorer_gpus
        )
        return SharedScorer(self._stack.enter_context(started))

    def verifier(self) -> Verifier:
        """The sandbox."""
        (actor,) = self._stack.enter_context(actors(VerifierWorker, 1, num_cpus=0))
        return cast(Verifier, remote_proxy(actor))

    def referee(self, config: JudgeConfig) -> Referee:
        """A judge of the gate's own, measured now."""
        return measured(self._judge(config), config, self._run.store)

    def labelers_word(self) -> list[Suite]:
        """What the labeler says of the candidate, if it is admitted to say anything."""
        store, recipe, admission = self._run.store, self._run.recipe, self._admission
        if admission is None:
            return []
        errors = tested_errors(admission, store.tested_probes(admission.labeler))
        rubric = load_rubric(recipe.judge.answer_rubric)
        labeler = Referee(
            self._judge(recipe.judge), rubric, admission.method, errors, is_admitted=True
        )
        return [labeler_suite(store, recipe.gate, self._prompts, labeler, self._run.salt)]

    def _judge(self, config: JudgeConfig) -> Judge:
        gpus = self._judge_gpus if config.kind == "local" else 0.0
        seed, threads = self._run.recipe.seed, self._cluster.threads()
        started = self._stack.enter_context(
            actors(JudgeWorker, 1, config, seed, threads, num_cpus=0, num_gpus=gpus)
        )
        return RemoteJudge(started)


def gpu_shares(num_gpus: int, num_scorers: int, num_judges: int) -> tuple[float, float]:
    """(GPUs of each scorer, GPUs of each judge that runs on this cluster); the judges fit beside
    one scorer.
    """
    if num_gpus == 0:
        return 0.0, 0.0
    left = 1.0 - JUDGES_SHARE if num_judges else 1.0
    return left * min(1.0, num_gpus / num_scorers), JUDGES_SHARE / max(1, num_judges)
