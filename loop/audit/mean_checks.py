"""The published means checked again: each is computed again from the scores in the store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from infra.records import AttemptRow, Evaluation
from infra.store import Store
from loop.audit.findings import Finding, StoredScores, changed_fields
from loop.gate.config import ANSWERS, BITS, LABELER_SUITE, RIGHT_ANSWERS
from loop.gate.estimates import clustered_mean_and_error, with_scores
from loop.gate.rules import BITS_PER_BYTE, checked_answers
from loop.gate.suites.answers import CheckedAnswers, JudgedAnswers
from loop.gate.suites.good_text import good_documents
from loop.gate.suites.held_out_text import HeldOutBits
from loop.gate.suites.item_files import GoldBits, RightTextSuite
from loop.gate.suites.items.harness import LM_EVAL
from loop.gate.suites.lm_eval_tasks import LmEvalTask
from loop.gate.suites.recipe_suites import SEALED_ITEMS
from loop.gate.suites.variety import VARIETY_MEASURES
from loop.gate.trial.score_records import ScoreRecords
from loop.gate.trial.sealed_exam import EXAM_SUITE, SEALED
from loop.gate.trial.suite_tests import GAIN
from loop.gate.trial.vetoes import CONTINUATIONS_SUITE, EXAMPLES_SUITE
from loop.recipe.recipe import Recipe

CORRECTED = "corrected_win_rate"
"""The measure that does not come from the scores of an attempt alone."""
Key = tuple[str, str, str]
"""(suite, metric, digest of the model)"""


def check_means(store: Store, recipe: Recipe, scores: StoredScores) -> Iterator[Finding]:
    """Check every mean and gain of the gate, that none is missing, and that none is made up."""
    check = _MeanCheck(store, recipe, scores)
    for stored in store.gate.evaluations():
        subject = f"{stored.metric} of attempt {stored.attempt} on {stored.suite}"
        yield Finding(subject, check.problem(stored))
    yield from check.missing()


class _MeanCheck:
    def __init__(self, store: Store, recipe: Recipe, scores: StoredScores) -> None:
        self._store, self._scores, self._rules = store, scores, recipe.gate_rules()
        self._generations = {row.attempt: row.generation for row in store.gate.attempts()}
        self._rows = {(row.attempt, row.candidate): row for row in store.gate.attempts()}
        self._expected = ExpectedMeans(store, recipe, scores).by_attempt()

    def problem(self, stored: Evaluation) -> str:
        """What is wrong with a measure; empty if nothing is."""
        key = stored.suite, stored.metric, stored.model_digest
        if stored.metric == CORRECTED:
            return self._corrected_problem(stored)
        if key not in self._expected.get(stored.attempt, {key}):
            return "nothing asks for it"
        return self._changes(stored)

    def _corrected_problem(self, stored: Evaluation) -> str:
        """The errors of the judge at that time are not known, so its value is not made again."""
        gain = stored.suite, GAIN, stored.model_digest
        rated = stored.suite, JudgedAnswers.metric, stored.model_digest
        if not {gain, rated} <= self._expected.get(stored.attempt, {gain, rated}):
            return "nothing asks for it"
        values = self._values(stored, stored.model_digest).values()
        expected = replace(
            stored,
            generation=self._generations.get(stored.attempt, 0),
            num_items=sum(value != 0.5 for value in values if not math.isnan(value)),
        )
        problems = changed_fields(stored, expected)
        if not (0 <= stored.value <= 1 and 0 <= stored.standard_error <= 0.5):
            problems.append("it is not a share with its error")
        return "; ".join(problems)

    def _changes(self, stored: Evaluation) -> str:
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
        """The means and gains that are not there."""
        stored = {
            (one.attempt, one.suite, one.metric, one.model_digest)
            for one in self._store.gate.evaluations()
        }
        for attempt, keys in self._expected.items():
            for suite, metric, digest in sorted(keys):
                if (attempt, suite, metric, digest) not in stored:
                    subject = f"{metric} of attempt {attempt} on {suite}"
                    yield Finding(subject, f"it is missing for the model {digest[:12]}")


@dataclass(frozen=True)
class ExpectedMeans:
    """The measures that an attempt has stored when its gate has finished."""

    store: Store
    recipe: Recipe
    scores: StoredScores

    def by_attempt(self) -> dict[int, set[Key]]:
        """The measures of each attempt whose gate has finished."""
        finished = set(self.store.run.finished_generations("gate"))
        attempts: dict[int, list[AttemptRow]] = {}
        for row in self.store.gate.attempts():
            if row.generation in finished:
                attempts.setdefault(row.attempt, []).append(row)
        return {number: set(self._keys(rows)) for number, rows in attempts.items()}

    def _keys(self, rows: Sequence[AttemptRow]) -> Iterator[Key]:
        attempt = rows[0].attempt
        arms = {test.arm for test in self.store.gate.gate_tests(attempt)}
        tested = [row.candidate for row in rows if row.arm in arms]
        untested = {row.candidate for row in rows} - set(tested)
        for suite in self.store.gate.scored_suites(attempt):
            name, _, measure = suite.partition("/")
            digests = {score.model_digest for score in self.scores.rows(attempt, suite)}
            if name == CONTINUATIONS_SUITE:
                yield from ((name, measure, digest) for digest in digests)
            elif name == EXAMPLES_SUITE:
                yield from ((name, CheckedAnswers.metric, digest) for digest in digests)
            elif name not in (EXAM_SUITE, SEALED_ITEMS):
                yield from self._suite_keys(attempt, name, tested, digests - untested)
        yield from self._text_keys(rows[0], set(tested))
        yield from self._sealed_keys(rows[0])

    def _suite_keys(
        self, attempt: int, suite: str, tested: Sequence[str], digests: set[str]
    ) -> Iterator[Key]:
        """A mean of each model that a tested candidate was compared with, and its gain."""
        items, others = self.scores.items(attempt, suite), digests - set(tested)
        for candidate in tested:
            if with_scores(items, [candidate, *others]):
                yield suite, GAIN, candidate
                metric = suite_metric(self.recipe, suite)
                yield from ((suite, metric, digest) for digest in (candidate, *others))

    def _text_keys(self, row: AttemptRow, tested: set[str]) -> Iterator[Key]:
        """All measures of the continuations, which every attempt has that had held-out texts."""
        has_texts = self.recipe.gate.veto_texts and self.store.curation.pool_groups(
            "gate", row.generation
        )
        for digest in tested if has_texts else ():
            yield from ((CONTINUATIONS_SUITE, name, digest) for name in VARIETY_MEASURES)

    def _sealed_keys(self, row: AttemptRow) -> Iterator[Key]:
        """A promoted candidate and the anchor on the sealed documents and the sealed items."""
        decision = self.store.gate.decision(row.generation)
        anchor = self.store.training.candidates(0)[0].digest
        if decision is None or decision.outcome != "promote":
            return
        for suite, metric in self._sealed_suites(row):
            yield suite, GAIN, decision.candidate
            yield from (
                (suite, f"{metric}_{SEALED}", digest) for digest in (decision.candidate, anchor)
            )

    def _sealed_suites(self, row: AttemptRow) -> Iterator[tuple[str, str]]:
        """(suite, metric) of what is scored, or must have been."""
        recipe, scored = self.recipe, self.store.gate.scored_suites(row.attempt)
        salt = self.store.run.facts().get("salt", "")
        has_documents = (
            recipe.gate.exam_documents > 0
            and not self.store.curation.has_changed("sealed")
            and good_documents(self.store, recipe.aim, "sealed", salt, row.generation)
        )
        if EXAM_SUITE in scored or has_documents:
            yield EXAM_SUITE, BITS_PER_BYTE
        has_part = recipe.aim.kind == "exam" and recipe.aim.exam.sealed_share > 0
        if SEALED_ITEMS in scored or has_part:
            yield SEALED_ITEMS, suite_metric(recipe, recipe.gate_rules()[0].name)


def suite_metric(recipe: Recipe, suite: str) -> str:
    """The name of the means of a suite, by its kind."""
    if suite in (BITS_PER_BYTE, LABELER_SUITE):
        return HeldOutBits.metric if suite == BITS_PER_BYTE else JudgedAnswers.metric
    aim_suites = {ANSWERS: recipe.aim.answers.suite(), RIGHT_ANSWERS: checked_answers(recipe.aim)}
    config = (aim_suites | recipe.gate_config().suites).get(suite)
    kind = config.kind if config else ""
    if kind in VARIETY_MEASURES:
        return kind
    metrics = {
        "judged": JudgedAnswers.metric,
        "executed": CheckedAnswers.metric,
        LM_EVAL: LmEvalTask.metric,
        BITS: GoldBits.metric,
    }
    return metrics.get(kind, RightTextSuite.metric)
