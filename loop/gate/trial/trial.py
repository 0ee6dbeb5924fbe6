"""From candidates to decisions: can they be scored, are they vetoed, do the tests show a gain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from infra.records import Checkpoint, Decision, GateTest, now
from loop.gate.levels import log_threshold
from loop.gate.trial.context import GateContext
from loop.gate.trial.reports import Reports
from loop.gate.trial.reward_hacking import hacking_reason, primary_measure_rose
from loop.gate.trial.suite_tests import NotFiniteError, SuiteTest, has_failed
from loop.gate.trial.vetoes import Vetoes


@dataclass(frozen=True)
class TrialResult:
    """The decision about one candidate, with its tests, and the aliases that it would move."""

    decision: Decision
    tests: list[GateTest]
    aliases: list[str]


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
    """Promote the candidate with the largest gain among those that pass; store all decisions."""
    passed = [one for one in results if one.decision.outcome == "promote"]
    best = max(passed, key=lambda one: one.decision.mean_gain) if passed else results[0]
    decisions = []
    for one in results:
        decision = replace(one.decision, is_lead=one is best)
        if one in passed and one is not best:
            reason = f"evidence of a gain, but {best.decision.arm} gained more"
            decision = replace(decision, outcome="hold", reason=reason)
        decisions.append(decision)
        context.store.gate.add_gate_tests(one.tests)
    context.store.gate.add_decisions(decisions, best.aliases if passed else [])
    return next(one for one in decisions if one.is_lead)


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
        outcome, reason = _outcome(tests)
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
            if suite.role != "report"
        ]
        tests = _until_one_fails(one.begin for one in deciding)
        if not has_failed(tests):
            tests = _until_one_fails(one.run for one in deciding)
        return tests

    def decide(self, outcome: str, reason: str, tests: Sequence[GateTest]) -> TrialResult:
        """The result with this outcome; nothing is stored yet."""
        context = self._context
        first = next((t for t in tests if t.role == "primary"), None)
        deciding = [suite for suite in context.suites if suite.role != "report"]
        decision = Decision(
            attempt=context.number,
            generation=context.generation,
            outcome=outcome,
            reason=reason,
            candidate=self._candidate.digest,
            champion=context.rivals.champion.digest,
            alpha=context.level,
            log_evidence=first.log_evidence if first else 0.0,
            log_threshold=first.log_threshold if first else log_threshold(context.level),
            num_documents=first.num_items if first else 0,
            mean_gain=first.mean_gain if first else 0.0,
            is_weak=outcome == "promote" and any(suite.reuse for suite in deciding),
            decided_at=now(),
            arm=self._candidate.arm,
        )
        aliases = ["champion", *self._improved(tests)] if outcome == "promote" else []
        return TrialResult(decision, list(tests), aliases)

    def _improved(self, tests: Sequence[GateTest]) -> Iterator[str]:
        """Aliases `best:SUITE` of the suites on which a promoted candidate is the new best.

        It is the new best if its mean score is better than that of the best model before it, or
        than the anchor's where there is none.
        """
        for suite in self._context.suites:
            by_rival = {t.against: t for t in tests if t.suite == suite.name}
            test = by_rival.get("best") or by_rival.get("anchor") or by_rival.get("champion")
            if test is not None and test.mean_gain > 0:
                yield f"best:{suite.name}"


def _until_one_fails(stages: Iterable[Callable[[], list[GateTest]]]) -> list[GateTest]:
    tests: list[GateTest] = []
    for stage in stages:
        tests += stage()
        if has_failed(tests):
            break
    return tests


def _outcome(tests: Sequence[GateTest]) -> tuple[str, str]:
    """(outcome, reason) from the results of all tests."""
    failed = next((t for t in tests if t.outcome == "fail"), None)
    if failed is not None:
        is_loss = failed.role == "primary"
        problem = "evidence of a loss" if is_loss else "worse by more than the margin"
        return "reject", f"{problem} on {failed.suite} against the {failed.against}"
    undecided = [f"{t.suite} against the {t.against}" for t in tests if t.outcome == "open"]
    if undecided:
        return "hold", f"not enough evidence: {', '.join(undecided)}"
    return "promote", "evidence of a gain"
