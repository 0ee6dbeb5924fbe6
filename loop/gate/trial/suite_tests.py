"""One suite in one attempt: items are drawn, scored and tested until every test is decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from infra.console import progress
from infra.records import Checkpoint, GateTest
from loop.gate.estimates import ScoredItem, by_position, with_scores
from loop.gate.suites.base import Item, Suite
from loop.gate.trial.context import GateContext
from loop.gate.trial.paired_tests import SuitePlan, raw_gains
from loop.gate.trial.score_records import ScoreRecords

GAIN = "gain"


def has_failed(tests: Sequence[GateTest]) -> bool:
    """Whether any test has failed."""
    return any(test.outcome == "fail" for test in tests)


class NotFiniteError(Exception):
    """A candidate's score of an item is not finite although other models have a score there."""


class SuiteTest:
    """The tests of one candidate on one suite.

    Items are drawn in chunks, marked as used, scored and tested, until every test is decided. All
    candidates of the attempt are scored at once, so the next candidate's tests begin with the items
    that are scored already.
    """

    def __init__(self, context: GateContext, suite: Suite, candidate: Checkpoint) -> None:
        self._context, self.suite, self._store = context, suite, context.store
        self._candidate = candidate
        planned_units = 0 if suite.rule.role == "report" else suite.plan(context.number)
        self._plan = SuitePlan(context.rule, suite.rule, context.rivals, planned_units)
        self._records = ScoreRecords(context.number, context.generation, suite.name)
        models = context.rivals.models([candidate])
        self._models = list(dict.fromkeys(model.digest for model in models))

    def begin(self) -> list[GateTest]:
        """The tests after the first draw."""
        if not self._scores():
            self._draw({})
        return self._tests(self._scores())

    def run(self) -> list[GateTest]:
        """All tests of the suite, with their evidence.

        Chunks that were scored before the run was stopped are read back, not scored again.
        """
        scores = self._scores()
        with progress(f"deciding on {self.suite.name}", total=self.suite.limit) as advance:
            advance(len(scores))
            tests = self._tests(scores)
            while self._goes_on(tests) and self._draw(scores):
                before, scores = len(scores), self._scores()
                tests = self._tests(scores)
                advance(len(scores) - before)
        return tests

    def _draw(self, scores: Mapping[int, ScoredItem]) -> bool:
        """Draw and score the next items; False if there are none left."""
        if len(scores) >= self.suite.limit:
            return False
        items = self.suite.draw(self._context.number, 1 + max(scores, default=-1))
        if items:
            self._score(items)
        return bool(items)

    def _goes_on(self, tests: Sequence[GateTest]) -> bool:
        if has_failed(tests):
            return False
        return not tests or any(test.outcome == "open" for test in tests)

    def _scores(self) -> dict[int, ScoredItem]:
        return by_position(self._store.gate.item_scores(self._context.number, self.suite.name))

    def _score(self, items: Sequence[Item]) -> None:
        rows = self.suite.score(self._context.scorer, items)
        by_model = dict(zip([m.digest for m in self._context.models], rows, strict=True))
        self._store.gate.add_item_scores(self._records.item_scores(items, by_model))

    def _tests(self, scores: Mapping[int, ScoredItem]) -> list[GateTest]:
        self._check_finite(scores)
        return self._plan.tests(self._candidate, scores)

    def _check_finite(self, scores: Mapping[int, ScoredItem]) -> None:
        """An item without a score by any model is a fault of the item or of its judge."""
        for _, values in scores.values():
            is_lost = all(map(math.isnan, values.values()))
            if not is_lost and not math.isfinite(values[self._candidate.digest]):
                raise NotFiniteError(f"the candidate's scores on {self.suite.name} are not finite")

    def report(self) -> None:
        """Store the mean of every model and the candidate's gain over the champion, with errors."""
        context, candidate = self._context, self._candidate.digest
        scores = with_scores(self._scores(), self._models)
        if not scores:
            return
        units = [unit for unit, _ in scores]
        values = {digest: [by_model[digest] for _, by_model in scores] for digest in self._models}
        champion = context.rivals.champion.digest
        gains = raw_gains(scores, candidate, champion, self.suite.rule).tolist()
        evaluations = [
            *self._records.means(self.suite.metric, values, units),
            *self._records.means(GAIN, {candidate: gains}, units),
        ]
        for metric in self.suite.summarise(values[candidate]):
            numbers = (metric.value, metric.standard_error, metric.num_items)
            evaluations.append(self._records.evaluation(candidate, metric.name, *numbers))
        self._store.gate.add_evaluations(evaluations)
