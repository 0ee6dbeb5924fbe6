"""From a candidate to a decision: can it be scored, is it vetoed, do the tests show a gain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from infra.records import Decision, GateTest, now
from loop.gate.levels import log_threshold
from loop.gate.trial.context import GateContext
from loop.gate.trial.reports import Reports
from loop.gate.trial.reward_hacking import hacking_reason, primary_measure_rose
from loop.gate.trial.suite_tests import NotFiniteError, SuiteTest, has_failed
from loop.gate.trial.vetoes import Vetoes


class GateTrial(GateContext):
    """One attempt to promote a candidate, from the first check to the stored decision."""

    def run(self) -> Decision:
        """Check the candidate, then vetoes, then the tests; store the decision and return it."""
        if problem := self.scorer.problem():
            return self._decide("abort", problem, [])
        if vetoes := Vetoes(self).reasons():
            return self._decide("reject", "veto: " + "; ".join(vetoes), [])
        try:
            tests = self._tests()
        except NotFiniteError as error:
            return self._decide("abort", str(error), [])
        outcome, reason = _outcome(tests)
        if outcome == "hold" and (hacking := self._hacking_reason(tests)):
            outcome, reason = "reject", f"veto: {hacking}"
        return self._decide(outcome, reason, tests)

    def report(self) -> None:
        """Measure what no decision reads, for a candidate that was tested.

        Comes after the decision is stored, and can be repeated after a kill.
        """
        if self.store.gate.gate_tests(self.number):
            Reports(self).run()

    def _hacking_reason(self, tests: Sequence[GateTest]) -> str:
        if primary_measure_rose(tests):
            return ""
        Reports(self).ask_labeler()
        evaluations = [e for e in self.store.gate.evaluations() if e.attempt == self.number]
        steps = self.store.training.train_steps(self.generation)
        return hacking_reason(steps, evaluations, tests, self.candidate.digest)

    def _tests(self) -> list[GateTest]:
        """The small stage on every deciding suite, then the full stage.

        The small stage tests the first items of each suite. Looking early costs nothing, since the
        evidence may be looked at after every unit. If the first items of one suite already reject
        the candidate, the rest of the other suites is not spent. Only the full stage can promote.
        """
        deciding = [SuiteTest(self, suite) for suite in self.suites if suite.role != "report"]
        tests = _until_one_fails(one.begin for one in deciding)
        if not has_failed(tests):
            tests = _until_one_fails(one.run for one in deciding)
        return tests

    def _decide(self, outcome: str, reason: str, tests: Sequence[GateTest]) -> Decision:
        first = next((t for t in tests if t.role == "primary"), None)
        deciding = [suite for suite in self.suites if suite.role != "report"]
        decision = Decision(
            attempt=self.number,
            generation=self.generation,
            outcome=outcome,
            reason=reason,
            candidate=self.candidate.digest,
            champion=self.rivals.champion.digest,
            alpha=self.level,
            log_evidence=first.log_evidence if first else 0.0,
            log_threshold=first.log_threshold if first else log_threshold(self.level),
            num_documents=first.num_items if first else 0,
            mean_gain=first.mean_gain if first else 0.0,
            is_weak=outcome == "promote" and any(suite.reuse for suite in deciding),
            decided_at=now(),
        )
        aliases = ["champion", *self._improved(tests)] if outcome == "promote" else []
        self.store.gate.add_gate_tests(tests)
        self.store.gate.add_decision(decision, aliases)
        return decision

    def _improved(self, tests: Sequence[GateTest]) -> Iterator[str]:
        """Aliases `best:SUITE` of the suites on which a promoted candidate is the new best.

        It is the new best if its mean score is better than that of the best model before it, or
        than the anchor's where there is none.
        """
        for suite in self.suites:
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
