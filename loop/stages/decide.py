"""The verb decide: the gate tests the candidate, and promotes it only on evidence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import cast

from infra.cluster.connection import Cluster, actors
from infra.cluster.proxy import remote_proxy
from infra.console import note, warn
from infra.records import PICKED, RANDOM, Checkpoint, Decision, PickingTest
from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.labelers.actors import VerifierWorker
from judges.making.context import Verifier
from judges.making.preferences.judged import tested_errors
from judges.rubrics import load_rubric
from loop.gate.picking_worth import COST, USELESS, picking_test
from loop.gate.suites.answers import Referee, labeler_prompts, labeler_suite, measure_referee
from loop.gate.suites.base import Suite
from loop.gate.suites.recipe_suites import SuiteMaker, recipe_suites, sealed_part
from loop.gate.suites.scorer import ModelScorer, SharedScorer
from loop.gate.trial.context import GateContext, Rivals
from loop.gate.trial.sealed_exam import SealedExam
from loop.gate.trial.trial import run_attempt
from loop.record.model_folders import link_champion, write_model_card, write_provenance
from loop.record.run_folder import Run, StageSummary
from loop.stages.judges import remote_judge
from loop.training.rewarders import answer_admission

JUDGES_SHARE = 0.4
"""Share of each GPU for the judges of the gate that run on this cluster."""
VERDICT_WORDS = {
    COST: "PICKED PASSAGES ARE WORSE THAN RANDOM ONES. Passages are drawn at random from now on",
    USELESS: "PICKING PASSAGES BRINGS LESS THAN gate.picking_worth_bits. They are drawn at random"
    " from now on",
}
"""What is printed when the control has shown that picking passages does not pay."""


def decide(
    cluster: Cluster, run: Run, generation: int, candidates: Sequence[Checkpoint]
) -> Decision:
    """Test the candidates on held-out documents and promote the best one only on evidence.

    There are none if the data policy forbade their training; the decision is stored then.
    """

    def work() -> StageSummary:
        if not candidates:
            stopped = run.store.gate.decision(generation)
            assert stopped is not None, "a generation that was not trained has a decision"
            return {"outcome": stopped.outcome, "reason": stopped.reason}
        decision = run_gate(cluster, run, candidates)
        if decision.outcome == "promote":
            promoted = next(one for one in candidates if one.arm == decision.arm)
            run_sealed_exam(cluster, run, promoted, decision)
        by_arm = {one.arm: one for one in run.store.gate.decisions(generation)}
        for candidate in candidates:
            write_model_card(run, candidate, by_arm[candidate.arm])
            write_provenance(run.store, candidate, by_arm[candidate.arm])
        link_champion(run.folder, run.store.registry.champion())
        return _summary(decision)

    run.stage(generation, "gate", work)
    decision = run.store.gate.decision(generation)
    assert decision is not None, "a finished gate stage has stored its decision"
    return decision


def _store_picking_test(run: Run, generation: int, suite: Suite) -> None:
    """Test whether picking pays, if the generation had a control; say so loudly if it does not.

    `suite` measures the aim.
    """
    if generation in {test.generation for test in run.store.gate.picking_tests()}:
        return
    test = picking_test(run.store, run.recipe.gate, suite.rule, generation)
    if test is None:
        controlled = {number for number, *_ in run.store.gate.attempts_with(PICKED, RANDOM)}
        if suite.rule.reuse and generation in controlled:
            note(f"whether picking pays is not tested: the items of {suite.name} are used again")
        return
    run.store.gate.add_picking_test(test)
    words = f"picked over random passages: {picking_gain(test)} ({suite.metric})"
    if test.verdict in VERDICT_WORDS:
        warn(f"{words}; {VERDICT_WORDS[test.verdict]}")
    else:
        note(f"{words}; {test.verdict}")


def picking_gain(test: PickingTest) -> str:
    """The gain with its standard error, which one unit does not have."""
    if test.num_units == 1:
        return f"{test.mean_gain:.4f} over one unit"
    return f"{test.mean_gain:.4f} ± {test.standard_error:.4f} over {test.num_units} units"


def _summary(decision: Decision) -> StageSummary:
    return {
        "outcome": decision.outcome,
        "candidate": decision.arm,
        "reason": decision.reason,
        "documents": decision.num_documents,
        "gain": f"{decision.mean_gain:.4f}",
        "evidence": f"{decision.log_evidence:.2f} of {decision.log_threshold:.2f}",
    }


def run_gate(cluster: Cluster, run: Run, candidates: Sequence[Checkpoint]) -> Decision:
    """One attempt to promote a candidate of a generation, and then what is only reported.

    The attempt is registered before any held-out document is drawn. One that was killed after its
    decision gets the reports that are missing.
    """
    config, store, generation = run.recipe.gate, run.store, candidates[0].generation
    names = [rule.name for rule in run.recipe.gate_rules()]
    decision = store.gate.decision(generation)
    rivals = Rivals.at(store.registry, run.anchor, names, decision)
    number = store.gate.register_attempt(candidates, rivals.champion.digest)
    with ExitStack() as stack:
        gate = _GateActors(cluster, run, stack, generation)
        maker = SuiteMaker(store, config, run.salt, gate.verifier(), gate.referees())
        suites = recipe_suites(run.recipe.aim, run.budgets["gate_tokens"], maker)
        context = GateContext(
            store=store,
            config=config,
            suites=[*suites, *gate.labeler_suites()],
            scorer=gate.scorer(rivals.models(candidates), len(candidates)),
            verifier=maker.verifier,
            generation=generation,
            number=number,
            candidates=candidates,
            rivals=rivals,
            salt=run.salt,
        )
        decision = run_attempt(context)
        _store_picking_test(run, generation, suites[0])
    return decision


def run_sealed_exam(cluster: Cluster, run: Run, candidate: Checkpoint, decision: Decision) -> None:
    """The sealed exam of a promoted candidate, unless it was run before."""
    anchor, recipe, store = run.anchor, run.recipe, run.store
    folders, gpus = [candidate.path, anchor.path], min(1, cluster.num_gpus)
    with (
        actors(ModelScorer, 1, folders, 1, cluster.threads(), num_gpus=gpus) as scorers,
        actors(VerifierWorker, 1, num_cpus=0) as verifiers,
    ):
        scorer, verifier = SharedScorer(scorers, 1), cast(Verifier, remote_proxy(verifiers[0]))
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

    def scorer(self, models: Sequence[Checkpoint], num_candidates: int) -> SharedScorer:
        """These models side by side, in as many processes as the recipe says."""
        folders = [model.path for model in models]
        threads = self._cluster.threads(self._num_scorers if not self._cluster.num_gpus else 1)
        started = actors(
            ModelScorer,
            self._num_scorers,
            folders,
            num_candidates,
            threads,
            num_gpus=self._scorer_gpus,
        )
        return SharedScorer(self._stack.enter_context(started), num_candidates)

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
        store, seed, gpus = self._run.store, self._run.recipe.seed, self._judge_gpus
        started = remote_judge(self._cluster, store, config, seed, num_gpus=gpus, num_cpus=0)
        return self._stack.enter_context(started)


def gpu_shares(num_gpus: int, num_scorers: int, num_judges: int) -> tuple[float, float]:
    """(GPUs of each scorer, GPUs of each judge on this cluster).

    All judges together fit on one GPU beside one scorer.
    """
    if num_gpus == 0:
        return 0.0, 0.0
    left = 1.0 - JUDGES_SHARE if num_judges else 1.0
    return left * min(1.0, num_gpus / num_scorers), JUDGES_SHARE / max(1, num_judges)
