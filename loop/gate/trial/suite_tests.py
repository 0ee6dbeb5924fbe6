"""One suite in one attempt: items are drawn, scored and tested until every test is decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infra.console import progress
from infra.records import Checkpoint, GateTest
from loop.gate.estimates import ScoredItem, by_position, clustered_mean_and_error, with_scores
from loop.gate.evidence import Array, GateRule, clipped_gains, judge_gains, unit_means
from loop.gate.levels import log_threshold, num_outcomes
from loop.gate.suites.base import Item, Suite
from loop.gate.trial.context import GateContext
from loop.gate.trial.score_records import ScoreRecords

GAIN = "gain"


def has_failed(tests: Sequence[GateTest]) -> bool:
    """Whether any test has failed."""
    return any(test.outcome == "fail" for test in tests)


class NotFiniteError(Exception):
    """A candidate's score of an item is not finite although other models have a score there."""


@dataclass(frozen=True)
class Opponent:
    """A test of the candidate against one model on one suite."""

    role: str
    against: str
    digest: str
    rule: GateRule


class SuiteTest:
    """The tests of one candidate on one suite.

    Items are drawn in chunks, marked as used, scored and tested, until every test is decided. All
    candidates of the attempt are scored at once, so the next candidate's tests begin with the items
    that are scored already.
    """

    def __init__(self, context: GateContext, suite: Suite, candidate: Checkpoint) -> None:
        self._context, self.suite, self._store = context, suite, context.store
        self._candidate = candidate
        looks = context.number - 1 if suite.reuse else 0
        num_reused = sum(one.reuse and one.role != "report" for one in context.suites)
        outcomes = num_outcomes(len(context.candidates), num_reused)
        self._threshold = log_threshold(context.level, looks, outcomes)
        self._planned_units = 0 if suite.role == "report" else suite.plan(context.number)
        self._records = ScoreRecords(context.number, context.generation, suite.name)
        models = context.rivals.models([candidate])
        self._models = list(dict.fromkeys(model.digest for model in models))

    def opponents(self) -> list[Opponent]:
        """The models to test against, with the rule of each test.

        A primary suite must show a gain over the champion. Every suite must show no loss against
        the anchor and the best model so far. That the candidate is no worse than the champion
        follows from the first test, so it is not tested again.
        """
        suite, rivals, config = self.suite, self._context.rivals, self._context.config
        if suite.role == "report":
            return []
        opponents = []
        if suite.role == "primary":
            rule = config.primary_rule(suite.clip)
            opponents.append(Opponent("primary", "champion", rivals.champion.digest, rule))
        rule = config.guard_rule(suite.clip, suite.margin)
        best = rivals.best.get(suite.name, rivals.anchor)
        for against, model in (("anchor", rivals.anchor), ("best", best)):
            if model.digest not in {o.digest for o in opponents}:
                opponents.append(Opponent("guard", against, model.digest, rule))
        return opponents

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

    def _gains(self, scores: Sequence[ScoredItem], other: str) -> Array:
        """Raw gains of each item over another model, in the suite's unit, positive where the
        candidate is better.
        """
        sign = 1.0 if self.suite.higher_is_better else -1.0
        candidate = self._candidate.digest
        return np.array(
            [sign * (values[candidate] - values[other]) for _, values in scores], dtype=np.float64
        )

    def _tests(self, scores: Mapping[int, ScoredItem]) -> list[GateTest]:
        self._check_finite(scores)
        return [self._test(opponent, scores) for opponent in self.opponents()]

    def _check_finite(self, scores: Mapping[int, ScoredItem]) -> None:
        """An item without a score by any model is a fault of the item or of its judge."""
        for _, values in scores.values():
            is_lost = all(map(math.isnan, values.values()))
            if not is_lost and not math.isfinite(values[self._candidate.digest]):
                raise NotFiniteError(f"the candidate's scores on {self.suite.name} are not finite")

    def _test(self, opponent: Opponent, scores: Mapping[int, ScoredItem]) -> GateTest:
        rule, rows = opponent.rule, with_scores(scores, [self._candidate.digest, opponent.digest])
        gains, units = self._gains(rows, opponent.digest), [unit for unit, _ in rows]
        means = unit_means(clipped_gains(gains, np.zeros_like(gains), rule.clip), units)
        verdict = judge_gains(means, rule, self._threshold, self._planned_units)
        mean, error = clustered_mean_and_error(gains.tolist(), units)
        return GateTest(
            attempt=self._context.number,
            arm=self._candidate.arm,
            suite=self.suite.name,
            role=opponent.role,
            against=opponent.against,
            other=opponent.digest,
            outcome=verdict.outcome,
            clip=rule.clip,
            bound=rule.bound * rule.clip,
            num_units=verdict.num_units,
            num_items=len(gains),
            mean_gain=0.0 if len(gains) == 0 else mean,
            standard_error=error,
            log_evidence=verdict.log_evidence,
            log_threshold=verdict.log_threshold,
            path=verdict.path,
        )

    def report(self) -> None:
        """Store the mean of every model and the candidate's gain over the champion, with errors."""
        context, candidate = self._context, self._candidate.digest
        scores = with_scores(self._scores(), self._models)
        if not scores:
            return
        units = [unit for unit, _ in scores]
        values = {digest: [by_model[digest] for _, by_model in scores] for digest in self._models}
        gains = self._gains(scores, context.rivals.champion.digest).tolist()
        evaluations = [
            *self._records.means(self.suite.metric, values, units),
            *self._records.means(GAIN, {candidate: gains}, units),
        ]
        for metric in self.suite.summarise(values[candidate]):
            numbers = (metric.value, metric.standard_error, metric.num_items)
            evaluations.append(self._records.evaluation(candidate, metric.name, *numbers))
        self._store.gate.add_evaluations(evaluations)
