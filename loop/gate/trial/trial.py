"""From a candidate to a decision: is it whole, is it vetoed, is there evidence for it on every
suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infra.console import progress
from infra.records import Decision, Evaluation, GateTest, ItemScore, now
from loop.gate.estimates import ScoredItem, by_position, clustered_mean_and_error, with_scores
from loop.gate.evidence import Array, GateRule, clipped_gains, judge_gains, unit_means
from loop.gate.levels import attempt_level, log_threshold
from loop.gate.suites.base import Item, Metric, Suite
from loop.gate.trial.contenders import Attempt
from loop.gate.trial.reward_hacking import hacked
from loop.gate.trial.vetoes import Vetoes

GAIN = "gain"


@dataclass(frozen=True, kw_only=True)
class Trial(Attempt):
    """An attempt with the suites that decide it."""

    suites: Sequence[Suite]

    def run(self) -> Decision:
        """Smoke, vetoes, then the tests, small and full; only the full ones can promote. Records
        the decision.
        """
        if problem := self.scorer.problem():
            return self._decide("abort", problem, [])
        vetoes = Vetoes(self).found()
        if vetoes:
            return self._decide("reject", "veto: " + "; ".join(vetoes), [])
        try:
            tests = self._tests()
        except _NotFiniteError as error:
            return self._decide("abort", str(error), [])
        outcome, reason = _outcome(tests)
        evaluations = [e for e in self.store.evaluations() if e.attempt == self.number]
        steps = self.store.train_steps(self.generation)
        if outcome == "hold" and (
            sentence := hacked(steps, evaluations, tests, self.candidate.digest)
        ):
            outcome, reason = "reject", f"veto: {sentence}"
        return self._decide(outcome, reason, tests)

    def _tests(self) -> list[GateTest]:
        """The first items of every suite that decides, and where they show no loss all that it
        takes; then reports.

        Looking early costs nothing: the evidence may be looked at after every unit. It spares the
        rest of one suite where the beginning of another has already rejected the candidate.
        """
        trials = {suite.name: SuiteTrial(self, suite) for suite in self.suites}
        deciding = [trial for trial in trials.values() if trial.suite.role != "report"]
        tests = _until_one_fails(trial.begin for trial in deciding)
        if not _has_failed(tests):
            tests = _until_one_fails(trial.run for trial in deciding)
        for trial in trials.values():
            if trial.suite.role == "report":
                trial.run()
            trial.report()
        return tests

    @property
    def level(self) -> float:
        """The level of this attempt's tests."""
        promoted = self.store.num_promoted(self.number)
        return attempt_level(self.config.level, self.config.alpha, self.number, promoted)

    def _decide(self, outcome: str, reason: str, tests: Sequence[GateTest]) -> Decision:
        first = next((t for t in tests if t.role == "primary"), None)
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
            is_weak=outcome == "promote"
            and any(suite.reuse and suite.role != "report" for suite in self.suites),
            decided_at=now(),
        )
        aliases = ["champion", *self._improved(tests)] if outcome == "promote" else []
        self.store.add_gate_tests(tests)
        self.store.add_decision(decision, aliases)
        return decision

    def _improved(self, tests: Sequence[GateTest]) -> Iterator[str]:
        """Suites on which a promoted candidate did better, on average, than the best before it (or
        the anchor).
        """
        for suite in self.suites:
            of_suite = {t.against: t for t in tests if t.suite == suite.name}
            test = of_suite.get("best") or of_suite.get("anchor") or of_suite.get("champion")
            if test is not None and test.mean_gain > 0:
                yield f"best:{suite.name}"


def _until_one_fails(stages: Iterable[Callable[[], list[GateTest]]]) -> list[GateTest]:
    tests: list[GateTest] = []
    for stage in stages:
        tests += stage()
        if _has_failed(tests):
            break
    return tests


def _has_failed(tests: Sequence[GateTest]) -> bool:
    return any(test.outcome == "fail" for test in tests)


def _outcome(tests: Sequence[GateTest]) -> tuple[str, str]:
    """(outcome, reason) from what every test says."""
    failed = [t for t in tests if t.outcome == "fail"]
    if failed:
        test = failed[0]
        what = "evidence of a loss" if test.role == "primary" else "worse by more than the margin"
        return "reject", f"{what} on {test.suite} against the {test.against}"
    waiting = [t for t in tests if t.outcome == "open"]
    if waiting:
        where = ", ".join(f"{t.suite} against the {t.against}" for t in waiting)
        return "hold", f"not enough evidence: {where}"
    return "promote", "evidence of a gain"


class _NotFiniteError(Exception):
    """A candidate gave no number where every other model did."""


@dataclass(frozen=True)
class Opponent:
    """A test of the candidate against one model on one suite."""

    role: str
    against: str
    digest: str
    rule: GateRule


class SuiteTrial:
    """One suite in one attempt: chunks are drawn, burned, scored and weighed until every test has
    decided.
    """

    def __init__(self, trial: Trial, suite: Suite) -> None:
        self._trial, self.suite, self._store = trial, suite, trial.store
        looks = trial.number - 1 if suite.reuse else 0
        # An attempt lets out whether it promoted, and then, for each suite, whether the candidate
        # is its best so far.
        outcomes = 1 + 2 ** sum(one.reuse and one.role != "report" for one in trial.suites)
        self._threshold = log_threshold(trial.level, looks, outcomes)
        self._models = list(dict.fromkeys(m.digest for m in trial.rivals.models(trial.candidate)))

    def opponents(self) -> list[Opponent]:
        """The champion where a gain must be shown; the anchor and the best so far where no loss may
        be.

        Not worse than the champion by a margin follows from better than the champion, so that is
        not tested again.
        """
        suite, rivals, config = self.suite, self._trial.rivals, self._trial.config
        if suite.role == "report":
            return []
        found = []
        if suite.role == "primary":
            rule = config.primary_rule(suite.clip)
            found.append(Opponent("primary", "champion", rivals.champion.digest, rule))
        rule = config.guard_rule(suite.clip, suite.margin)
        best = rivals.best.get(suite.name, rivals.anchor)
        for against, model in (("anchor", rivals.anchor), ("best", best)):
            if model.digest not in {o.digest for o in found}:
                found.append(Opponent("guard", against, model.digest, rule))
        return found

    def begin(self) -> list[GateTest]:
        """The tests after the first draw."""
        if not self._scores():
            self._draw({})
        return self._tests(self._scores())

    def run(self) -> list[GateTest]:
        """Tests with their evidence. Chunks that were scored before a kill are read back, not
        scored again.
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
        """Draw and score the next items; whether there were any."""
        if len(scores) >= self.suite.limit:
            return False
        items = self.suite.draw(self._trial.number, 1 + max(scores, default=-1))
        if items:
            self._score(items)
        return bool(items)

    def _goes_on(self, tests: Sequence[GateTest]) -> bool:
        if _has_failed(tests):
            return False
        return not tests or any(test.outcome == "open" for test in tests)

    def _scores(self) -> dict[int, ScoredItem]:
        return by_position(self._store.item_scores(self._trial.number, self.suite.name))

    def _score(self, items: Sequence[Item]) -> None:
        trial = self._trial
        rows = self.suite.score(trial.scorer, items)
        lost = np.isnan(np.array(rows)).all(
            axis=0
        )  # without a score for anybody: the item's fault, or its judge's
        if not np.isfinite(np.array(rows[0])[~lost]).all():
            raise _NotFiniteError(f"the candidate's scores on {self.suite.name} are not finite")
        digests = [model.digest for model in trial.rivals.models(trial.candidate)]
        scores = {
            (digest, i): ItemScore(
                trial.number,
                self.suite.name,
                item.item_id,
                item.position,
                digest,
                values[i],
                item.size,
                "",
                item.unit,
            )
            for digest, values in zip(digests, rows, strict=True)
            for i, item in enumerate(items)
        }
        self._store.add_item_scores(list(scores.values()))

    def _gains(self, scores: Sequence[ScoredItem], other: str) -> Array:
        """Raw gains of each item over another model, in the suite's unit, positive where the
        candidate is better.
        """
        sign = 1.0 if self.suite.higher_is_better else -1.0
        candidate = self._trial.candidate.digest
        return np.array(
            [sign * (values[candidate] - values[other]) for _, values in scores], dtype=np.float64
        )

    def _tests(self, scores: Mapping[int, ScoredItem]) -> list[GateTest]:
        rows = with_scores(scores)
        units = [unit for unit, _ in rows]
        return [
            self._test(opponent, self._gains(rows, opponent.digest), units)
            for opponent in self.opponents()
        ]

    def _test(self, opponent: Opponent, gains: Array, units: Sequence[str]) -> GateTest:
        rule = opponent.rule
        means = unit_means(clipped_gains(gains, np.zeros_like(gains), rule.clip), units)
        verdict = judge_gains(means, rule, self._threshold)
        mean, error = clustered_mean_and_error(gains.tolist(), units)
        return GateTest(
            attempt=self._trial.number,
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
        """Every model's mean, and the candidate's gain over the champion, with errors clustered by
        unit.
        """
        trial, suite, scores = self._trial, self.suite, with_scores(self._scores())
        if not scores:
            return
        units = [unit for unit, _ in scores]
        values = {digest: [row[digest] for _, row in scores] for digest in self._models}
        rows = [(suite.metric, digest, of_model) for digest, of_model in values.items()]
        rows.append(
            (
                GAIN,
                trial.candidate.digest,
                self._gains(scores, trial.rivals.champion.digest).tolist(),
            )
        )
        found = [
            (digest, Metric(metric, *clustered_mean_and_error(of_model, units), len(of_model)))
            for metric, digest, of_model in rows
        ]
        found += [
            (trial.candidate.digest, m) for m in suite.summarise(values[trial.candidate.digest])
        ]
        self._store.add_evaluations(
            [
                Evaluation(
                    trial.number,
                    trial.generation,
                    suite.name,
                    m.name,
                    digest,
                    m.value,
                    m.standard_error,
                    m.num_items,
                )
                for digest, m in found
            ]
        )
