"""Measures a labeler on its probes before it labels, and decides whether it may label by a rubric.

A hash divides the pairs of each probe. A few choose the elicitation method, the others decide on
admission by the chosen one, so that choosing the best of several methods inflates nothing. A
labeler is admitted to a rubric only if, on every probe, a sequential test shows that it is right
more often than every rule of one feature (`judges.measuring.probes.nuisances`). Its level is a
share of `ADMISSION_ALPHA` for each rubric of the recipe: the chance that a labeler of coin tosses
is admitted to any of them is at most `ADMISSION_ALPHA`, by Ville's inequality and the union bound.
A labeler that compares both sides in one question is measured that way too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import mannwhitneyu

from infra.records import Judgment, content_key
from infra.records.labeler import Admission, ProbeResult
from judges.judgment.answers import logit
from judges.judgment.batches import Batch, judgment_ids, read_comparisons
from judges.judgment.pairs import SIGN
from judges.judgment.protocol import Judge
from judges.measuring.calibration import fit_calibration
from judges.measuring.probes.making import (
    ProbeMaterial,
    ProbePair,
    as_gold,
    make_sentinel_pairs,
    probe_set,
)
from judges.measuring.sequential import accuracy_bounds, sequential_test
from judges.rubrics import Rubric

ADMISSION_ALPHA = 0.05
"""Largest chance that a labeler of coin tosses is admitted to any rubric of a recipe."""
CALIBRATION, TEST = "calibration", "test"
CHUNK = 8
"""Pairs that are judged between two looks at the evidence."""
NUM_SENTINEL_PAIRS = 24
MIN_SLOPE_PAIRS, MIN_LENGTH_SPREAD = 8, 0.05
"""Fewer pairs, or pairs of more equal lengths, say nothing of a taste for length."""
IN_PAIRS = "/pairs"
"""Suffix of a probe's name if both sides are shown in one question."""
SENTINEL = "sentinel/"
"""Prefix of the name of a kind of sentinel. Sentinels are measured to detect changes later; they
are not a condition of admission."""
PairValues = tuple[float, float]
"""Values of the good and of the bad side of a pair."""


@dataclass(frozen=True)
class ProbeOutcome:
    """The results of one elicitation method.

    `log_odds` are those of good over bad of the pairs that were judged (NaN if unscored),
    `lengths` the differences of their log lengths.
    """

    method: str
    results: tuple[ProbeResult, ...]
    log_odds: tuple[float, ...]
    lengths: tuple[float, ...]


@dataclass(frozen=True)
class Probing:
    """What a labeler is measured on for one rubric, and at which level."""

    rubric: Rubric
    material: ProbeMaterial
    alpha: float
    shows_both: bool
    """Whether both sides of a pair are also shown in one question."""

    def probes(self) -> list[str]:
        """The names of the probes; those in which both sides are shown at once come last."""
        shows_both = self.shows_both and self.rubric.choice is not None
        names = list(self.rubric.probes)
        return [*names, *(name + IN_PAIRS for name in names if shows_both)]

    def is_as_in_labeling(self, probe: str) -> bool:
        """Whether a probe shows the sides of a pair as labeling will: at once, if it ever does."""
        return probe.endswith(IN_PAIRS) == self.probes()[-1].endswith(IN_PAIRS)

    def pairs(self, probe: str, half: str) -> tuple[ProbePair, ...]:
        """The pairs of one half of a probe, in the order in which they are judged."""
        made = probe_set(probe.removesuffix(IN_PAIRS), self.material)
        return made.calibration if half == CALIBRATION else made.deciding

    def limit(self, probe: str) -> float:
        """What a labeler must exceed: the accuracy of the best rule of one feature."""
        return probe_set(probe.removesuffix(IN_PAIRS), self.material).limit

    def batch(self, probe: str, method: str, pairs: Sequence[ProbePair]) -> Batch:
        """These pairs of a probe as questions for a labeler."""
        if probe.endswith(IN_PAIRS):
            return Batch(self.rubric, "pairwise", method, pairs=[as_gold(pair) for pair in pairs])
        return _sides(self.rubric, method, pairs)


def pair_outcomes(values: Sequence[PairValues]) -> list[float]:
    """1 for a pair that was judged right, 0 if wrong or not at all, 1/2 for a tie."""
    return [0.5 + float(np.sign(good - bad)) / 2 for good, bad in values]


def _result(
    labeler: str, probing: Probing, method: str, probe: str, half: str, values: Sequence[PairValues]
) -> ProbeResult:
    """The result on the pairs that were used; those behind the decision do not count."""
    limit, decision, number = probing.limit(probe), "", len(values)
    if half == TEST:
        test = sequential_test(pair_outcomes(values), limit, probing.alpha)
        decision, number = test.decision, test.num_pairs
    used = values[:number]
    auc = mannwhitneyu(*zip(*used, strict=True)).statistic / number**2 if used else math.nan
    key = content_key(
        labeler, probing.rubric.digest, method, probe, half, probing.material.digest, number
    )
    made = _accuracy_result(key, labeler, probing, method, probe, used)
    return replace(made, half=half, auc=float(auc), rule_limit=limit, decision=decision)


def _accuracy_result(
    key: str,
    labeler: str,
    probing: Probing,
    method: str,
    probe: str,
    values: Sequence[PairValues],
) -> ProbeResult:
    """The accuracy on pairs, beside that of a coin; nothing is decided."""
    outcomes = pair_outcomes(values)
    low, high = accuracy_bounds(np.array(outcomes))
    return ProbeResult(
        result_id=key,
        labeler=labeler,
        rubric=probing.rubric.id,
        method=method,
        probe=probe,
        half=TEST,
        num_pairs=len(values),
        accuracy=float(np.mean(outcomes)) if outcomes else 0.0,
        lower=low,
        upper=high,
        auc=math.nan,
        rule_limit=0.5,
        decision="",
        alpha=probing.alpha,
    )


def _sides(rubric: Rubric, method: str, pairs: Sequence[ProbePair]) -> Batch:
    sides = [side for pair in pairs for side in (pair.good, pair.bad)]
    return Batch(rubric, "pointwise", method, subjects=sides)


def sentinel_batches(rubric: Rubric, method: str, material: ProbeMaterial) -> dict[str, Batch]:
    """Return the batches that measure a labeler on sentinels, by kind."""
    pairs = [pair for probe in rubric.probes for pair in probe_set(probe, material).deciding]
    share = max(1, len(pairs) // NUM_SENTINEL_PAIRS)
    kinds = make_sentinel_pairs(pairs[::share][:NUM_SENTINEL_PAIRS])
    return {SENTINEL + kind: _sides(rubric, method, made) for kind, made in kinds.items()}


def _read_batch(batch: Batch, rows: Sequence[Judgment]) -> tuple[list[PairValues], list[float]]:
    """Return each pair's (good value, bad value) and its log-odds of good over bad (NaN if
    unscored).

    In the values, an unscored side makes its pair wrong.
    """
    return _read_pairs(batch, rows) if batch.mode == "pairwise" else _read_sides(rows)


def _read_pairs(batch: Batch, rows: Sequence[Judgment]) -> tuple[list[PairValues], list[float]]:
    odds = [
        c.log_odds * SIGN[p.truth or "tie"] if c.is_scored else math.nan
        for p, c in zip(batch.pairs, read_comparisons(rows), strict=True)
    ]
    return [(0.0, 1.0) if math.isnan(x) else (x, 0.0) for x in odds], odds


def _read_sides(rows: Sequence[Judgment]) -> tuple[list[PairValues], list[float]]:
    values, odds = [], []
    for good, bad in zip(rows[::2], rows[1::2], strict=True):
        good_value = good.value if good.status == "scored" else -1.0
        bad_value = bad.value if bad.status == "scored" else 2.0
        values.append((good_value, bad_value))
        is_scored = good.status == bad.status == "scored"
        odds.append(logit(good.value) - logit(bad.value) if is_scored else math.nan)
    return values, odds


AnswerSource = Callable[[Batch], Sequence[Judgment]]
"""Gives the judgments of a batch: by asking a labeler, or from what is stored."""


def calibration_outcome(
    labeler: str, probing: Probing, method: str, judge: AnswerSource
) -> ProbeOutcome:
    """The results of one method on the pairs that choose the method."""
    results, odds, lengths = [], list[float](), list[float]()
    for probe in probing.probes():
        pairs = probing.pairs(probe, CALIBRATION)
        batch = probing.batch(probe, method, pairs)
        values, pair_odds = _read_batch(batch, judge(batch))
        results.append(_result(labeler, probing, method, probe, CALIBRATION, values))
        if probing.is_as_in_labeling(probe):
            odds += pair_odds
            lengths += map(_length_difference, pairs)
    return ProbeOutcome(method, tuple(results), tuple(odds), tuple(lengths))


def log_length(text: str) -> float:
    """The log of the characters of a text."""
    return math.log1p(len(text))


def _length_difference(pair: ProbePair) -> float:
    return log_length(pair.good.text) - log_length(pair.bad.text)


def length_slope(log_odds: Sequence[float], lengths: Sequence[float]) -> float:
    """What a labeler gives for length alone, in nats for each factor e of length.

    The slope of log-odds of good over bad by the difference of log lengths, with an intercept for
    what the truth gives; on the probes, the truth says nothing of the length. It is shrunk by
    (1 - (error / slope)^2), at least 0, so that noise is not corrected for.
    """
    y = np.array(log_odds)
    x, y = np.array(lengths)[~np.isnan(y)], y[~np.isnan(y)]
    if len(x) < MIN_SLOPE_PAIRS or x.std() < MIN_LENGTH_SPREAD:
        return 0.0
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(centred @ centred))
    return slope * max(0.0, 1.0 - (error / slope) ** 2) if slope else 0.0


def deciding_outcome(
    labeler: str, probing: Probing, method: str, judge: AnswerSource
) -> ProbeOutcome:
    """The results of the chosen method on the pairs that decide.

    Pairs are judged until a probe is decided. After a probe that the labeler does not pass, the
    others are spared.
    """
    results, odds, lengths = list[ProbeResult](), list[float](), list[float]()
    for probe in probing.probes():
        result, probe_odds = _test_result(labeler, probing, method, probe, judge)
        results.append(result)
        if probing.is_as_in_labeling(probe):
            odds += probe_odds
            lengths += map(_length_difference, probing.pairs(probe, TEST)[: len(probe_odds)])
        if result.decision != "pass":
            break
    return ProbeOutcome(method, tuple(results), tuple(odds), tuple(lengths))


def _test_result(
    labeler: str, probing: Probing, method: str, probe: str, judge: AnswerSource
) -> tuple[ProbeResult, list[float]]:
    """(result, log-odds of good over bad of the pairs that were judged)."""
    pairs, values, odds = probing.pairs(probe, TEST), list[PairValues](), list[float]()
    limit = probing.limit(probe)
    for start in range(0, len(pairs), CHUNK):
        batch = probing.batch(probe, method, pairs[start : start + CHUNK])
        chunk_values, chunk_odds = _read_batch(batch, judge(batch))
        values, odds = values + chunk_values, odds + chunk_odds
        if sequential_test(pair_outcomes(values), limit, probing.alpha).decision != "open":
            break
    return _result(labeler, probing, method, probe, TEST, values), odds


def sentinel_results(
    labeler: str, probing: Probing, method: str, judge: AnswerSource
) -> list[ProbeResult]:
    """Return the results on each kind of sentinel."""
    results, digests = [], (probing.rubric.digest, probing.material.digest)
    for kind, batch in sentinel_batches(probing.rubric, method, probing.material).items():
        values, _ = _read_batch(batch, judge(batch))
        key = content_key(labeler, digests[0], method, kind, digests[1])
        results.append(_accuracy_result(key, labeler, probing, method, kind, values))
    return results


def best_method(outcomes: Sequence[ProbeOutcome]) -> ProbeOutcome:
    """Return the method with the best accuracy on its worst probe; the sum of AUCs breaks ties."""

    def merit(outcome: ProbeOutcome) -> tuple[float, float]:
        return min(r.accuracy for r in outcome.results), sum(r.auc for r in outcome.results)

    return max(outcomes, key=merit)


def fit_temperature(log_odds: Sequence[float]) -> float:
    """Return the temperature that log-odds of good over bad are divided by to be calibrated.

    One imaginary wrong pair is added to the targets (Platt 1999), so that a labeler that is right
    on a dozen pairs does not become certain.
    """
    odds = np.array([value for value in log_odds if not math.isnan(value)])
    if not len(odds):
        return 1.0
    target = (len(odds) + 1) / (len(odds) + 2)
    return fit_calibration(odds, np.full(len(odds), target)).temperature


def admit(labeler: str, probing: Probing, chosen: ProbeOutcome, tested: ProbeOutcome) -> Admission:
    """Decide whether the labeler may label by the rubric with the chosen method."""
    failed = [r for r in tested.results if r.decision != "pass"]
    reason = "; ".join(
        f"{r.probe} {r.accuracy:.2f} [{r.lower:.2f}, {r.upper:.2f}] of {r.num_pairs} pairs"
        for r in failed or tested.results
    )
    return Admission(
        admission_id=content_key(labeler, probing.rubric.digest, probing.material.digest),
        labeler=labeler,
        rubric=probing.rubric.id,
        method=chosen.method,
        admitted=not failed,
        reason=reason,
        temperature=fit_temperature(chosen.log_odds),
        length_slope=length_slope(
            chosen.log_odds + tested.log_odds, chosen.lengths + tested.lengths
        ),
    )


@dataclass(frozen=True)
class LabelerMeasurement:
    """The results of a labeler on one rubric, its admission, and the judgments they are computed
    from.
    """

    results: list[ProbeResult]
    admission: Admission
    rows: list[Judgment]


class _Asked:
    """Asks a labeler once about each item."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.rows: dict[str, Judgment] = {}

    def __call__(self, batch: Batch) -> list[Judgment]:
        ids = judgment_ids(self._judge.name, batch)
        items = [s.subject_id for s in batch.subjects] + [p.pair_id for p in batch.pairs]
        known = [item for item, i in zip(items, ids, strict=True) if i in self.rows]
        rest = batch.without(known)
        for row in self._judge.judge(rest) if rest.num_items else ():
            self.rows[row.judgment_id] = row
        return [self.rows[i] for i in ids]


def measure_labeler(
    judge: Judge,
    rubric: Rubric,
    material: ProbeMaterial,
    num_rubrics: int = 1,
    report: Callable[[float], None] | None = None,
) -> LabelerMeasurement:
    """Measure every elicitation method on some of the rubric's pairs, choose the best, and decide
    on admission with the others.

    `num_rubrics` is the number of rubrics that share the level.
    """
    probing = Probing(rubric, material, ADMISSION_ALPHA / num_rubrics, not judge.values_sides)
    asked, methods = _Asked(judge), rubric.usable_methods(judge.methods)
    results, admission = measurement(judge.name, probing, methods, asked, report)
    return LabelerMeasurement(results, admission, list(asked.rows.values()))


def measurement(
    labeler: str,
    probing: Probing,
    methods: Sequence[str],
    judge: AnswerSource,
    report: Callable[[float], None] | None = None,
) -> tuple[list[ProbeResult], Admission]:
    """The results and the admission, by asking a labeler or from what it has answered before."""
    outcomes = list[ProbeOutcome]()
    for method in methods:
        outcomes.append(calibration_outcome(labeler, probing, method, judge))
        if report:
            report(1)
    chosen = best_method(outcomes)
    tested = deciding_outcome(labeler, probing, chosen.method, judge)
    admission = admit(labeler, probing, chosen, tested)
    results = [result for one in (*outcomes, tested) for result in one.results]
    if admission.admitted:
        results += sentinel_results(labeler, probing, chosen.method, judge)
    return results, admission


def stored_rows(labeler: str, rows: Mapping[str, Judgment]) -> AnswerSource:
    """What a labeler has answered before, by the ids of its judgments.

    What this returns raises `KeyError` if a judgment is missing.
    """
    return lambda batch: [rows[i] for i in judgment_ids(labeler, batch)]
