"""The published means checked again: each is computed again from the scores in the store."""

from __future__ import annotations

import math
from collections.abc import Iterator

from infra.records import AttemptRow, Evaluation
from infra.store import Store
from loop.audit.findings import Finding, StoredScores, changed_fields
from loop.gate.config import LABELER_SUITE
from loop.gate.estimates import clustered_mean_and_error
from loop.gate.rules import BITS_PER_BYTE
from loop.gate.suites.recipe_suites import SEALED_ITEMS
from loop.gate.trial.score_records import ScoreRecords
from loop.gate.trial.sealed_exam import EXAM_SUITE
from loop.gate.trial.suite_tests import GAIN
from loop.gate.trial.vetoes import CONTINUATIONS_SUITE
from loop.recipe.recipe import Recipe

NOT_MEANS = ("corrected_win_rate",)
"""Measures that do not come from the scores of an attempt alone."""


def check_means(store: Store, recipe: Recipe, scores: StoredScores) -> Iterator[Finding]:
    """Check every mean and gain of the gate, and that each tested candidate has its gains."""
    check = _MeanCheck(store, recipe, scores)
    for stored in store.gate.evaluations():
        if stored.metric not in NOT_MEANS:
            subject = f"{stored.metric} of attempt {stored.attempt} on {stored.suite}"
            yield Finding(subject, check.problem(stored))
    yield from check.missing()


class _MeanCheck:
    def __init__(self, store: Store, recipe: Recipe, scores: StoredScores) -> None:
        self._store, self._scores, self._rules = store, scores, recipe.gate_rules()
        self._generations = {row.attempt: row.generation for row in store.gate.attempts()}
        self._rows = {(row.attempt, row.candidate): row for row in store.gate.attempts()}

    def problem(self, stored: Evaluation) -> str:
        """What is wrong with a measure; empty if nothing is."""
        is_gain = stored.metric == GAIN
        values = self._gains(stored) if is_gain else self._values(stored, stored.model_digest)
        items = self._scores.items(stored.attempt, self._source(stored))
        positions = [i for i, value in values.items() if not math.isnan(value)]
        chosen = [values[i] for i in positions]
        mean, error = clustered_mean_and_error(chosen, [items[i][0] for i in positions])
        generation = self._generations.get(stored.attempt, 0)
        records = ScoreRecords(stored.attempt, generation, stored.suite)
        again = records.evaluation(stored.model_digest, stored.metric, mean, error, len(chosen))
        return "; ".join(changed_fields(stored, again))

    def _source(self, stored: Evaluation) -> str:
        """The suite under which the scores of a measure are stored."""
        is_text = stored.suite == CONTINUATIONS_SUITE
        return f"{stored.suite}/{stored.metric}" if is_text else stored.suite

    def _values(self, stored: Evaluation, digest: str) -> dict[int, float]:
        return self._scores.by_model(stored.attempt, self._source(stored), digest)

    def _gains(self, stored: Evaluation) -> dict[int, float]:
        """Gains over the champion of that time; in the sealed exam over the anchor."""
        own = self._values(stored, stored.model_digest)
        other = self._values(stored, self._other(stored))
        sign = self._sign(stored.suite)
        return {i: sign * (own[i] - other[i]) for i in own if i in other}

    def _other(self, stored: Evaluation) -> str:
        if stored.suite in (EXAM_SUITE, SEALED_ITEMS):
            anchor = self._store.training.checkpoint(0)
            return anchor.digest if anchor else ""
        row = self._rows.get((stored.attempt, stored.model_digest))
        return row.champion if row else ""

    def _sign(self, suite: str) -> float:
        """As in the gate; the sealed parts are measured like the suites that they are parts of."""
        signs = {rule.name: rule.sign for rule in self._rules}
        parts = {
            EXAM_SUITE: signs[BITS_PER_BYTE],
            SEALED_ITEMS: self._rules[0].sign,
            LABELER_SUITE: 1.0,
        }
        return (signs | parts).get(suite, 1.0)

    def missing(self) -> Iterator[Finding]:
        """Gains that a candidate should have: on each suite that tested it."""
        finished = set(self._store.run.finished_generations("gate"))
        stored = {
            (one.attempt, one.suite, one.model_digest)
            for one in self._store.gate.evaluations()
            if one.metric == GAIN
        }
        for row in self._rows.values():
            for suite in self._tested(row) if row.generation in finished else ():
                if (row.attempt, suite, row.candidate) not in stored:
                    subject = f"{GAIN} of attempt {row.attempt} on {suite}"
                    yield Finding(subject, f"it is missing for {row.arm}")

    def _tested(self, row: AttemptRow) -> list[str]:
        tests = self._store.gate.gate_tests(row.attempt, row.arm)
        return sorted({test.suite for test in tests if test.num_items})
