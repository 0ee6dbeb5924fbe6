"""The tests of a candidate against other models on one suite, from stored scores alone.

The gate makes them while it decides, and `ratchet verify` makes them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infra.records import Checkpoint, GateTest
from loop.gate.estimates import ScoredItem, clustered_mean_and_error, with_scores
from loop.gate.evidence import Array, GateRule, clipped_gains, judge_gains, unit_means
from loop.gate.rules import AttemptRule, SuiteRule
from loop.gate.trial.context import Rivals


@dataclass(frozen=True)
class Opponent:
    """A test of the candidate against one model on one suite."""

    role: str
    against: str
    digest: str
    rule: GateRule


@dataclass(frozen=True)
class SuitePlan:
    """What is fixed of the tests of an attempt on a suite before the first item is scored."""

    attempt: AttemptRule
    suite: SuiteRule
    rivals: Rivals
    planned_units: int

    def opponents(self) -> list[Opponent]:
        """The models to test against, with the rule of each test.

        A primary suite must show a gain over the champion. Every suite must show no loss against
        the anchor and the best model so far. That the candidate is no worse than the champion
        follows from the first test, so it is not tested again.
        """
        suite, rivals, config = self.suite, self.rivals, self.attempt.config
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

    def tests(self, candidate: Checkpoint, scores: Mapping[int, ScoredItem]) -> list[GateTest]:
        """The tests of a candidate against each opponent on the items that are scored."""
        return [
            self.test(candidate, other, with_scores(scores, [candidate.digest, other.digest]))
            for other in self.opponents()
        ]

    def test(
        self, candidate: Checkpoint, opponent: Opponent, rows: Sequence[ScoredItem]
    ) -> GateTest:
        """The test of a candidate against one opponent on items that have a score by both."""
        rule = opponent.rule
        gains = raw_gains(rows, candidate.digest, opponent.digest, self.suite)
        units = [unit for unit, _ in rows]
        means = unit_means(clipped_gains(gains, np.zeros_like(gains), rule.clip), units)
        threshold = self.attempt.threshold(self.suite)
        verdict = judge_gains(means, rule, threshold, self.planned_units)
        mean, error = clustered_mean_and_error(gains.tolist(), units)
        return GateTest(
            attempt=self.attempt.number,
            arm=candidate.arm,
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


def raw_gains(rows: Sequence[ScoredItem], candidate: str, other: str, suite: SuiteRule) -> Array:
    """Gains of each item over another model, in the suite's unit, positive where the candidate is
    better.
    """
    gains = [suite.sign * (values[candidate] - values[other]) for _, values in rows]
    return np.array(gains, dtype=np.float64)
