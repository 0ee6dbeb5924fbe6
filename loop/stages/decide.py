"""The verb decide: the gate tests the candidate, and promotes it only on evidence."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import cast

from infra.cluster.connection import Cluster, actors
from infra.cluster.proxy import remote_proxy
from infra.records import Checkpoint, Decision
from infra.store.tables.registry import RegistryTables
from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.labelers.actors import JudgeWorker, RemoteJudge, VerifierWorker
from judges.making.context import Verifier
from judges.making.preferences.judged import tested_errors
from judges.rubrics import load_rubric
from loop.gate.suites.answers import Referee, labeler_prompts, labeler_suite, measure_referee
from loop.gate.suites.base import BITS_PER_BYTE, Suite
from loop.gate.suites.recipe_suites import SuiteMaker, recipe_suites, sealed_part
from loop.gate.suites.scorer import ModelScorer, SharedScorer
from loop.gate.trial.context import Rivals
from loop.gate.trial.sealed_exam import SealedExam
from loop.gate.trial.trial import GateTrial
from loop.record.model_folders import link_champion, write_model_card, write_provenance
from loop.record.run_folder import Run, StageSummary
from loop.training.rewarders import answer_admission

JUDGES_SHARE = 0.4
"""Share of each GPU for the judges of the gate that run on this cluster."""


def decide(cluster: Cluster, run: Run, generation: int, candidate: Checkpoint | None) -> Decision:
    """Test the candidate on held-out documents and promote it only on evidence.

    `candidate` is None if the data policy forbade its training; that decision is stored already.
    """

    def work() -> StageSummary:
        if candidate is None:
            stopped = run.store.gate.decision(generation)
            assert stopped is not None, "a generation that was not trained has a decision"
            return {"outcome": stopped.outcome, "reason": stopped.reason}
        decision = run_gate(cluster, run, generation, candidate)
        if decision.outcome == "promote":
            run_sealed_exam(cluster, run, candidate, decision)
        write_model_card(run, candidate, decision)
        write_provenance(run.store, candidate, decision)
        link_champion(run.folder, run.store.registry.champion())
        return _summary(decision)

    run.stage(generation, "gate", work)
    decision = run.store.gate.decision(generation)
    assert decision is not None, "a finished gate stage has stored its decision"
    return decision


def _summary(decision: Decision) -> StageSummary:
    return {
        "outcome": decision.outcome,
        "reason": decision.reason,
        "documents": decision.num_documents,
        "gain": f"{decision.mean_gain:.4f}",
        "evidence": f"{decision.log_evidence:.2f} of {decision.log_threshold:.2f}",
    }


def run_gate(cluster: Cluster, run: Run, generation: int, candidate: Checkpoint) -> Decision:
    """One attempt to promote the candidate, and then what is only reported.

    The attempt is registered before any held-out document is drawn. One that was killed after its
    decision gets the reports that are missing.
    """
    config, store = run.recipe.gate, run.store
    decision = store.gate.decision(generation)
    names = (BITS_PER_BYTE, *run.recipe.gate_config().suites)
    rivals = gate_rivals(store.registry, run.anchor, names, decision)
    number = store.gate.register_attempt(generation, candidate.digest, rivals.champion.digest)
    with ExitStack() as stack:
        gate = _GateActors(cluster, run, stack, generation)
        maker = SuiteMaker(store, config, run.salt, gate.verifier(), gate.referees())
        suites = recipe_suites(run.recipe.aim, run.budgets["gate_tokens"], maker)
        trial = GateTrial(
            store=store,
            config=config,
            suites=[*suites, *gate.labeler_suites()],
            scorer=gate.scorer([model.path for model in rivals.models(candidate)]),
            verifier=maker.verifier,
            generation=generation,
            number=number,
            candidate=candidate,
            rivals=rivals,
            salt=run.salt,
        )
        decision = decision or trial.run()
        trial.report()
    return decision


def gate_rivals(
    registry: RegistryTables, anchor: Checkpoint, suites: Iterable[str], decision: Decision | None
) -> Rivals:
    """The models to compare with: those of now, or those just before a decision that is stored."""
    at = decision.decided_at if decision else None
    best = {name: registry.alias(f"best:{name}", at) for name in suites}
    best_models = {name: model for name, model in best.items() if model}
    return Rivals(registry.champion(at), anchor, best_models)


def run_sealed_exam(cluster: Cluster, run: Run, candidate: Checkpoint, decision: Decision) -> None:
    """The sealed exam of a promoted candidate, unless it was run before."""
    anchor, recipe, store = run.anchor, run.recipe, run.store
    folders, gpus = [candidate.path, anchor.path], min(1, cluster.num_gpus)
    with (
        actors(ModelScorer, 1, folders, cluster.threads(), num_gpus=gpus) as scorers,
        actors(VerifierWorker, 1, num_cpus=0) as verifiers,
    ):
        scorer, verifier = SharedScorer(scorers), cast(Verifier, remote_proxy(verifiers[0]))
        part = sealed_part(recipe.aim, SuiteMaker(store, recipe.gate, run.salt, verifier, {}))
        exam = SealedExam(
            store=store,
            config=recipe.gate,
            aim=recipe.aim,
            scorer=scorer,
            decision=decision,
            anchor=anchor,
            salt=run.salt,
            part=part,
        )
        if exam.is_due():
            exam.run()


class _GateActors:
    """Starts the actors that score, verify and judge for the gate; they end with `stack`."""

    def __init__(self, cluster: Cluster, run: Run, stack: ExitStack, generation: int) -> None:
        self._cluster, self._run, self._stack = cluster, run, stack
        config = run.recipe.gate
        self._prompts = labeler_prompts(run.store, generation, config.labeler_prompts)
        self._admission = answer_admission(run.store, run.recipe) if self._prompts else None
        num_scorers = min(config.num_workers, max(1, cluster.num_cpus))
        self._num_scorers = num_scorers or max(1, cluster.num_gpus)
        judges = [suite.judge for suite in config.suites.values() if suite.kind == "judged"]
        judges += [run.recipe.judge] if self._admission else []
        num_local = sum(judge.kind == "local" for judge in judges)
        shares = gpu_shares(cluster.num_gpus, self._num_scorers, num_local)
        self._scorer_gpus, self._judge_gpus = shares

    def scorer(self, folders: list[str]) -> SharedScorer:
        """These models side by side, in as many processes as the recipe says."""
        threads = self._cluster.threads(self._num_scorers if not self._cluster.num_gpus else 1)
        started = actors(
            ModelScorer, self._num_scorers, folders, threads, num_gpus=self._scorer_gpus
        )
        return SharedScorer(self._stack.enter_context(started))

    def verifier(self) -> Verifier:
        """The sandbox that executes answers."""
        (actor,) = self._stack.enter_context(actors(VerifierWorker, 1, num_cpus=0))
        return cast(Verifier, remote_proxy(actor))

    def referees(self) -> dict[str, Referee]:
        """The judge of each judged suite, measured now."""
        suites, store = self._run.recipe.gate.suites, self._run.store
        return {
            name: measure_referee(self._judge(suite.judge), suite.judge, store)
            for name, suite in suites.items()
            if suite.kind == "judged"
        }

    def labeler_suites(self) -> list[Suite]:
        """The suite in which the labeler compares answers; empty if it is not admitted."""
        store, recipe, admission = self._run.store, self._run.recipe, self._admission
        if admission is None:
            return []
        errors = tested_errors(admission, store.labelers.tested_probes(admission.labeler))
        rubric = load_rubric(recipe.judge.answer_rubric)
        judge = self._judge(recipe.judge)
        labeler = Referee(judge, rubric, admission.method, errors, is_admitted=True)
        return [labeler_suite(store, recipe.gate, self._prompts, labeler, self._run.salt)]

    def _judge(self, config: JudgeConfig) -> Judge:
        gpus = self._judge_gpus if config.kind == "local" else 0.0
        seed, threads = self._run.recipe.seed, self._cluster.threads()
        started = actors(JudgeWorker, 1, config, seed, threads, num_cpus=0, num_gpus=gpus)
        return RemoteJudge(self._stack.enter_context(started))


def gpu_shares(num_gpus: int, num_scorers: int, num_judges: int) -> tuple[float, float]:
    """(GPUs of each scorer, GPUs of each judge on this cluster).

    All judges together fit on one GPU beside one scorer.
    """
    if num_gpus == 0:
        return 0.0, 0.0
    left = 1.0 - JUDGES_SHARE if num_judges else 1.0
    return left * min(1.0, num_gpus / num_scorers), JUDGES_SHARE / max(1, num_judges)
