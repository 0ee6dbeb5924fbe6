"""What is measured for people to read: after the decision, within a budget of items of its own."""

from __future__ import annotations

from infra.console import warn
from infra.records import Checkpoint
from loop.gate.config import LABELER_SUITE
from loop.gate.suites.base import Suite
from loop.gate.trial.context import GateContext
from loop.gate.trial.suite_tests import NotFiniteError, SuiteTest
from loop.gate.trial.vetoes import Vetoes


class Reports:
    """The reports of one attempt; what was measured before the run was killed is kept.

    The suites of role `report` share `gate.report_items` evenly.
    """

    def __init__(self, context: GateContext) -> None:
        self._context = context
        self._suites = [suite for suite in context.suites if suite.rule.role == "report"]
        for suite in self._suites:
            share = context.config.report_items // len(self._suites)
            suite.limit = min(suite.limit, share)

    def ask_labeler(self, candidate: Checkpoint) -> None:
        """Measure the labeler's suite now, for the veto that reads it."""
        for suite in self._suites:
            if suite.name == LABELER_SUITE:
                self._measure(suite, candidate)

    def run(self) -> None:
        """Store means with errors of what the tests have scored, then score the rest.

        Candidates that were not tested are left out.
        """
        context = self._context
        tested = {test.arm for test in context.store.gate.gate_tests(context.number)}
        candidates = [one for one in context.candidates if one.arm in tested]
        for candidate in candidates:
            self._run_for(candidate)
        if candidates:
            Vetoes(context).report()

    def _run_for(self, candidate: Checkpoint) -> None:
        for suite in self._context.suites:
            if suite.rule.role != "report":
                SuiteTest(self._context, suite, candidate).report()
        for suite in self._suites:
            self._measure(suite, candidate)

    def _measure(self, suite: Suite, candidate: Checkpoint) -> None:
        test = SuiteTest(self._context, suite, candidate)
        try:
            test.run()
        except NotFiniteError as error:
            warn(f"report: {error}")
        test.report()
