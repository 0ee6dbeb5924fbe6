"""Attempts checked again: every test and decision is made again from the scores in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from infra.records import AttemptRow, Checkpoint, Decision, GateTest
from infra.store import Store
from loop.audit.findings import Finding, StoredScores, changed_fields
from loop.gate.config import ANSWERS
from loop.gate.estimates import ScoredItem, with_scores
from loop.gate.rules import BITS_PER_BYTE, AttemptRule, SuiteRule
from loop.gate.suites.variety import DRIFT
from loop.gate.trial.context import Rivals
from loop.gate.trial.decisions import (
    candidate_decision,
    promoted_aliases,
    tests_outcome,
    with_lead,
)
from loop.gate.trial.paired_tests import SuitePlan
from loop.gate.trial.reward_hacking import hacking_reason
from loop.gate.trial.suite_tests import has_failed
from loop.gate.trial.vetoes import (
    CONTINUATIONS_SUITE,
    EXAMPLES_SUITE,
    REPETITION,
    TOKENIZER_VETO,
    drift_reason,
    examples_reason,
    repetition_reason,
    tokenizer_reason,
)
from loop.recipe.recipe import Recipe

VETO = "veto: "


def check_attempts(store: Store, recipe: Recipe, scores: StoredScores) -> Iterator[Finding]:
    """Check every attempt that has ended, and that none of them is missing."""
    rows = store.gate.attempts()
    numbers = {row.attempt for row in rows}
    stored = numbers | store.gate.attempts_with_results()
    for number in sorted(stored | set(range(1, len(numbers) + 1))):
        if number not in numbers:
            yield Finding(f"attempt {number}", "no candidate is registered for it")
            continue
        own = [row for row in rows if row.attempt == number]
        check = _AttemptCheck(store, recipe, scores, own)
        if check.has_ended:
            yield from check.findings()


class _AttemptCheck:
    """One attempt: what was registered for it, its rivals at that time, its stored results."""

    def __init__(
        self, store: Store, recipe: Recipe, scores: StoredScores, rows: Sequence[AttemptRow]
    ) -> None:
        self._store, self._scores, self._rows = store, scores, rows
        self._number, self._generation = rows[0].attempt, rows[0].generation
        decisions = store.gate.decisions(self._generation)
        self._decisions = {one.arm: one for one in decisions if one.attempt == self._number}
        models = store.training.candidates(self._generation)
        arms = {row.arm for row in rows}
        self._candidates = [one for one in models if one.arm in arms]
        rules = recipe.gate_rules()
        promoted = store.gate.num_promoted(self._number)
        registered = store.gate.num_candidates(self._number)
        self._rule = AttemptRule(recipe.gate, self._number, promoted, registered, rules)
        anchor, lead = store.training.candidates(0)[0], next(iter(self._decisions.values()), None)
        self._rivals = Rivals.at(store.registry, anchor, [rule.name for rule in rules], lead)

    @property
    def has_ended(self) -> bool:
        """Whether there should be decisions: one is stored, or the gate has finished."""
        finished = self._store.run.finished_generations("gate")
        return self._generation in finished or bool(self._decisions)

    def findings(self) -> Iterator[Finding]:
        """The registered candidates, the items drawn, and the tests and decision of each."""
        subject = f"candidates of attempt {self._number}"
        yield Finding(subject, self._registered_problem())
        for rule in self._rule.deciding:
            subject = f"items of attempt {self._number} on {rule.name}"
            yield Finding(subject, self._items_problem(rule))
        again = list[Decision]()
        for candidate in self._candidates:
            check = _CandidateCheck(self._store, self._scores, self._rule, self._rivals, candidate)
            yield from check.test_findings()
            stored = self._decisions.get(candidate.arm)
            if stored:
                again.append(check.decision(stored))
        aim = self._rule.rules[0]
        scores = self._scores.items(self._number, aim.name)
        yield from self._decision_findings(with_lead(again, scores, aim) if again else [])

    def _registered_problem(self) -> str:
        by_arm = {one.arm: one.digest for one in self._candidates}
        for row in self._rows:
            if by_arm.get(row.arm) != row.candidate:
                return f"{row.arm} is not the model that was trained"
            if row.champion != self._rivals.champion.digest:
                return "the champion is not the one of that time"
            decision = self._decisions.get(row.arm)
            if decision is not None and row.registered_at > decision.decided_at:
                return f"{row.arm} was registered after its decision"
        return ""

    def _items_problem(self, rule: SuiteRule) -> str:
        """The items that were scored must be those that were drawn, and drawn for this attempt."""
        drawn = self._store.gate.drawn_items(self._number, rule.name)
        scores = self._scores.rows(self._number, rule.name)
        scored = {(score.position, score.item_id, score.unit) for score in scores}
        if scored - drawn:
            return f"{len(scored - drawn)} scored items were not drawn for it"
        lacking = {item_id for _, item_id, _ in drawn - scored}
        if lacking and rule.name in (BITS_PER_BYTE, ANSWERS):  # their pages may be forgotten
            lacking &= self._store.gate.kept_ids()
        if lacking:
            return f"{len(lacking)} items were drawn and have no score"
        if not rule.reuse and self._store.gate.units_drawn_twice(self._number, rule.name):
            return "an earlier attempt has used some of the items"
        return ""

    def _decision_findings(self, again: Sequence[Decision]) -> Iterator[Finding]:
        remade = {one.arm: one for one in again}
        for row in self._rows:
            stored, subject = self._decisions.get(row.arm), _subject(self._number, row.arm)
            if stored is None or row.arm not in remade:
                yield Finding(subject, "it is missing")
            else:
                yield Finding(subject, "; ".join(changed_fields(stored, remade[row.arm])))
        yield self._alias_finding(next((one for one in again if one.is_lead), None))

    def _alias_finding(self, lead: Decision | None) -> Finding:
        """A promotion moves the champion and the best of some suites, and nothing else does."""
        moved = Counter(
            (event.alias, event.digest, event.generation, event.reason)
            for event in self._store.registry.alias_history()
            if event.attempt == self._number
        )
        expected = Counter[tuple[str, str, int, str]]()
        if lead is not None and lead.outcome == "promote":
            tests = self._store.gate.gate_tests(self._number, lead.arm)
            names = promoted_aliases(self._rule.rules, tests)
            expected.update((name, lead.candidate, lead.generation, lead.reason) for name in names)
        wrong = sorted({alias for alias, *_ in (moved - expected) + (expected - moved)})
        problem = f"the decision does not explain where {', '.join(wrong)} points"
        return Finding(f"aliases moved by attempt {self._number}", problem if wrong else "")


def _subject(number: int, arm: str) -> str:
    return f"decision of attempt {number} about {arm}"


@dataclass(frozen=True)
class _CandidateCheck:
    """The tests and the decision of one candidate, made again from the stored scores."""

    store: Store
    scores: StoredScores
    rule: AttemptRule
    rivals: Rivals
    candidate: Checkpoint

    @cached_property
    def _stored(self) -> list[GateTest]:
        return self.store.gate.gate_tests(self.rule.number, self.candidate.arm)

    def test_findings(self) -> Iterator[Finding]:
        """Each stored test made again, and tests that are missing."""
        stored, seen = self._stored, list[GateTest]()
        by_key = {(test.suite, test.against): test for test in stored}
        for rule in self.rule.deciding if stored else ():
            for again in self._tests_again(rule, by_key):
                test = by_key.pop((again.suite, again.against), None)
                problem = "it is missing"
                if test is not None:
                    problem = "; ".join(changed_fields(test, again)) or self._stop_problem(again)
                yield self._finding(again.suite, again.against, problem)
                seen.append(again)
            if has_failed(seen):
                break
        for suite, against in by_key:
            yield self._finding(suite, against, "no rule of the recipe asks for it")

    def _finding(self, suite: str, against: str, problem: str) -> Finding:
        name = f"{suite} against the {against}"
        attempt, arm = self.rule.number, self.candidate.arm
        return Finding(f"evidence of attempt {attempt} for {arm} on {name}", problem)

    def _tests_again(
        self, rule: SuiteRule, stored: dict[tuple[str, str], GateTest]
    ) -> Iterator[GateTest]:
        planned = self.store.gate.planned_units(self.rule.number, rule.name)
        plan = SuitePlan(self.rule, rule, self.rivals, planned)
        for opponent in plan.opponents():
            test = stored.get((rule.name, opponent.against))
            rows = self._rows(rule.name, opponent.digest)
            used = rows[: test.num_items] if test else rows
            yield plan.test(self.candidate, opponent, used)

    def _rows(self, suite: str, other: str) -> list[ScoredItem]:
        items = self.scores.items(self.rule.number, suite)
        return with_scores(items, [self.candidate.digest, other])

    def _stop_problem(self, test: GateTest) -> str:
        """A test that decides nothing goes on until there are no items, unless another fails."""
        if test.outcome != "open" or has_failed(self._stored):
            return ""
        num_scored = len(self._rows(test.suite, test.other))
        return "" if test.num_items == num_scored else "items that were scored are left out"

    def decision(self, stored: Decision) -> Decision:
        """The decision from the stored scores.

        That a model could not be scored cannot be seen there: an abort is taken as it is, if there
        are no tests.
        """
        tests = self._stored
        if stored.outcome == "abort" and not tests:
            made = stored.outcome, stored.reason
        elif reasons := self._vetoes(stored):
            made = "reject", VETO + "; ".join(reasons)
        else:
            made = self._outcome(tests) if tests else ("hold", "there are no tests")
        return candidate_decision(self.rule, self.rivals, self.candidate, made, tests)

    def _outcome(self, tests: Sequence[GateTest]) -> tuple[str, str]:
        outcome, reason = tests_outcome(tests)
        if outcome != "hold":
            return outcome, reason
        store, model = self.store, self.candidate
        evaluations = [e for e in store.gate.evaluations() if e.attempt == self.rule.number]
        steps = store.training.train_steps(model.generation, model.arm)
        hacking = hacking_reason(steps, evaluations, tests, model.digest)
        return ("reject", VETO + hacking) if hacking else (outcome, reason)

    def _vetoes(self, stored: Decision) -> list[str]:
        config, own = self.rule.config, self.candidate.digest
        champion = self.rivals.champion.digest
        reasons = [self._tokenizer_veto(stored)]
        drift = self._scores(f"{CONTINUATIONS_SUITE}/{DRIFT}")
        if own in drift:
            reasons.append(drift_reason(float(np.mean(drift[own])), config))
        repeated = self._scores(f"{CONTINUATIONS_SUITE}/{REPETITION}")
        if own in repeated and champion in repeated:
            means = float(np.mean(repeated[own])), float(np.mean(repeated[champion]))
            reasons.append(repetition_reason(*means, config))
        right = self._scores(EXAMPLES_SUITE)
        if own in right and champion in right:
            marks = ([value > 0 for value in right[digest]] for digest in (own, champion))
            reasons.append(examples_reason(*marks))
        return [reason for reason in reasons if reason]

    def _tokenizer_veto(self, stored: Decision) -> str:
        """From the model folders; as it was stored where one of them was deleted."""
        folders = [Path(self.candidate.path), Path(self.rivals.champion.path)]
        if all(folder.is_dir() for folder in folders):
            return tokenizer_reason(*folders)
        parts = stored.reason.removeprefix(VETO).split("; ")
        return next((part for part in parts if part.startswith(TOKENIZER_VETO)), "")

    def _scores(self, suite: str) -> dict[str, list[float]]:
        values: dict[str, list[float]] = {}
        for score in self.scores.rows(self.rule.number, suite):
            values.setdefault(score.model_digest, []).append(score.value)
        return values
