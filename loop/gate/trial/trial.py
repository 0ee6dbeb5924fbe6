"""From candidates to decisions: can they be scored, are they vetoed, do the tests show a gain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from infra.records import Checkpoint, Decision, GateTest
from loop.gate.estimates import by_position
from loop.gate.trial.context import GateContext
from loop.gate.trial.decisions import (
    candidate_decision,
    promoted_aliases,
    tests_outcome,
    with_lead,
)
from loop.gate.trial.reports import Reports
from loop.gate.trial.reward_hacking import hacking_reason, primary_measure_rose
from loop.gate.trial.suite_tests import NotFiniteError, SuiteTest, has_failed
from loop.gate.trial.vetoes import Vetoes


@dataclass(frozen=True)
class TrialResult:
    """The decision about one candidate, with its tests."""

    decision: Decision
    tests: list[GateTest]


def run_attempt(context: GateContext) -> Decision:
    """Test all candidates of a generation, promote the best of those that pass, and report.

    Returns the decision that stands for the generation. A candidate that cannot be scored is
    aborted, and the others go on. What no decision reads is measured after the decisions are
    stored; an attempt that was killed then gets the reports that are missing.
    """
    problems = [context.scorer.problem(i) for i in range(len(context.candidates))]
    healthy = [i for i, problem in enumerate(problems) if not problem]
    context.scorer.keep(healthy)
    rest = replace(context, candidates=[context.candidates[i] for i in healthy])
    decision = context.store.gate.decision(context.generation)
    if decision is None:
        decision = _store_best(context, _results(context, rest, problems))
    Reports(rest).run()
    return decision


def _results(context: GateContext, rest: GateContext, problems: Sequence[str]) -> list[TrialResult]:
    """The result of each candidate; `rest` has those without a problem."""
    vetoes = Vetoes(rest)
    results = []
    for candidate, problem in zip(context.candidates, problems, strict=True):
        if problem:
            results.append(GateTrial(context, candidate).decide("abort", problem, []))
        else:
            results.append(GateTrial(rest, candidate).run(vetoes.reasons(candidate)))
    return results


def _store_best(context: GateContext, results: Sequence[TrialResult]) -> Decision:
    """Promote the candidate that gains most among those that pass; store all decisions."""
    store, aim = context.store, context.rule.rules[0]
    scores = by_position(store.gate.item_scores(context.number, aim.name))
    decisions = with_lead([one.decision for one in results], scores, aim)
    for one in results:
        store.gate.add_gate_tests(one.tests)
    pairs = zip(decisions, results, strict=True)
    lead, tests = next((decision, one.tests) for decision, one in pairs if decision.is_lead)
    is_promoted = lead.outcome == "promote"
    aliases = promoted_aliases(context.rule.rules, tests) if is_promoted else []
    store.gate.add_decisions(decisions, aliases)
    return lead


class GateTrial:
    """The trial of one candidate, from its vetoes to the decision about it."""

    def __init__(self, context: GateContext, candidate: Checkpoint) -> None:
        self._context, self._candidate = context, candidate

    def run(self, vetoes: Sequence[str]) -> TrialResult:
        """The vetoes first, then the tests."""
        if vetoes:
            return self.decide("reject", "veto: " + "; ".join(vetoes), [])
        try:
            tests = self._tests()
        except NotFiniteError as error:
            return self.decide("abort", str(error), [])
        outcome, reason = tests_outcome(tests)
        if outcome == "hold" and (hacking := self._hacking_reason(tests)):
            outcome, reason = "reject", f"veto: {hacking}"
        return self.decide(outcome, reason, tests)

    def _hacking_reason(self, tests: Sequence[GateTest]) -> str:
        candidate, store, number = self._candidate, self._context.store, self._context.number
        if primary_measure_rose(tests):
            return ""
        Reports(self._context).ask_labeler(candidate)
        evaluations = [e for e in store.gate.evaluations() if e.attempt == number]
        steps = store.training.train_steps(candidate.generation, candidate.arm)
        return hacking_reason(steps, evaluations, tests, candidate.digest)

    def _tests(self) -> list[GateTest]:
        """The small stage on every deciding suite, then the full stage.

        The small stage tests the first items of each suite. Looking early costs nothing, since the
        evidence may be looked at after every unit. If the first items of one suite already reject
        the candidate, the rest of the other suites is not spent. Only the full stage can promote.
        """
        deciding = [
            SuiteTest(self._context, suite, self._candidate)
            for suite in self._context.suites
            if suite.rule.role != "report"
        ]
        tests = _until_one_fails(one.begin for one in deciding)
        if not has_failed(tests):
            tests = _until_one_fails(one.run for one in deciding)
        return tests

    def decide(self, outcome: str, reason: str, tests: Sequence[GateTest]) -> TrialResult:
        """The result with this outcome; nothing is stored yet."""
        context, made = self._context, (outcome, reason)
        decision = candidate_decision(context.rule, context.rivals, self._candidate, made, tests)
        return TrialResult(decision, list(tests))


def _until_one_fails(stages: Iterable[Callable[[], list[GateTest]]]) -> list[GateTest]:
    tests: list[GateTest] = []
    for stage in stages:
        tests += stage()
        if has_failed(tests):
            break
    return tests
