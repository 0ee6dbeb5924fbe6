"""Measures a labeler on its probes before it labels, and decides whether it may label by a rubric.

The even pairs of each probe choose the elicitation method, the odd ones decide on admission, so
that choosing the best of several methods does not inflate its accuracy. A labeler is admitted to a
rubric only if, on every probe, the lower bound of its pair accuracy (Wilson, one-sided 95%) is
above one half and above the accuracy of always choosing by length. A labeler that compares both
sides in one question is measured that way too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import mannwhitneyu

from infra.records import Judgment, content_key
from infra.records.labeler import Admission, ProbeResult
from judges.judgment.answers import logit
from judges.judgment.batches import Batch, judgment_ids, read_comparisons
from judges.judgment.pairs import SIGN
from judges.judgment.protocol import Judge
from judges.measuring.accuracy import longer_baseline
from judges.measuring.calibration import fit_calibration
from judges.measuring.intervals import accuracy_interval
from judges.measuring.probes import (
    ProbePair,
    gold_set,
    items_digest,
    make_sentinel_pairs,
    probe_pairs,
)
from judges.rubrics import Rubric

IN_PAIRS = "/pairs"
"""Suffix of a probe's name if both sides are shown in one question."""
SENTINEL = "sentinel/"
"""Prefix of the name of a kind of sentinel. Sentinels are measured to detect changes later; they
are not a condition of admission."""
PairValues = tuple[float, float]
"""Values of the good and of the bad side of a pair."""


@dataclass(frozen=True)
class ProbeOutcome:
    """The results of one elicitation method, and the log-odds of good over bad on the calibration
    halves.
    """

    method: str
    results: tuple[ProbeResult, ...]
    log_odds: tuple[float, ...]


@dataclass(frozen=True)
class ProbeAccuracy:
    """A pair accuracy with its bounds (Wilson, 90% two-sided), and the AUC."""

    value: float
    low: float
    high: float
    auc: float


def probe_accuracy(good: Sequence[float], bad: Sequence[float]) -> ProbeAccuracy:
    """Return the accuracy of values for the good and the bad sides of the same pairs.

    A tie counts as half right. For the interval the number of right pairs is rounded down.
    """
    wins = np.sign(np.asarray(good) - np.asarray(bad)) / 2 + 0.5
    accuracy = accuracy_interval(wins, 0.9)
    auc = mannwhitneyu(good, bad).statistic / (len(good) * len(bad))
    return ProbeAccuracy(accuracy.value, accuracy.low, accuracy.high, float(auc))


def _result(
    labeler: str, batch: Batch, probe: str, half: str, values: Sequence[PairValues]
) -> ProbeResult:
    rubric, method = batch.rubric, batch.method
    key = content_key(labeler, rubric.digest, method, probe, half, items_digest(), len(values))
    accuracy = probe_accuracy([good for good, _ in values], [bad for _, bad in values])
    return ProbeResult(
        result_id=key,
        labeler=labeler,
        rubric=rubric.id,
        method=method,
        probe=probe,
        half=half,
        num_pairs=len(values),
        accuracy=accuracy.value,
        lower=accuracy.low,
        upper=accuracy.high,
        auc=accuracy.auc,
    )


def _halves(number: int) -> dict[str, list[int]]:
    return {"calibration": list(range(0, number, 2)), "test": list(range(1, number, 2))}


def _sides(rubric: Rubric, method: str, pairs: Sequence[ProbePair]) -> Batch:
    sides = [side for pair in pairs for side in (pair.good, pair.bad)]
    return Batch(rubric, "pointwise", method, subjects=sides)


def probe_batches(
    rubric: Rubric, method: str, num_items: int, shows_both: bool
) -> dict[str, Batch]:
    """Return the batches that measure one method, by the name of the probe."""
    batches = {
        probe: _sides(rubric, method, probe_pairs(probe, num_items)) for probe in rubric.probes
    }
    if shows_both and rubric.choice is not None:
        for probe in rubric.probes:
            pairs = gold_set(probe, num_items).pairs
            batches[probe + IN_PAIRS] = Batch(rubric, "pairwise", method, pairs=pairs)
    return batches


def sentinel_batches(rubric: Rubric, method: str, num_items: int) -> dict[str, Batch]:
    """Return the batches that measure a labeler on sentinels, by kind."""
    kinds = make_sentinel_pairs(rubric.probes, num_items)
    return {SENTINEL + kind: _sides(rubric, method, pairs) for kind, pairs in kinds.items()}


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


def probe_outcome(
    labeler: str, method: str, batches: Mapping[str, Batch], rows: Mapping[str, Judgment]
) -> ProbeOutcome:
    """Return the results of one method for both halves of each probe, from the judgments (by id).

    Raises `KeyError` if a judgment is missing.
    """
    shows_both = any(probe.endswith(IN_PAIRS) for probe in batches)
    results, odds = [], []
    for probe, batch in batches.items():
        values, pair_odds = _read_batch(batch, [rows[i] for i in judgment_ids(labeler, batch)])
        halves = _halves(len(values))
        for half, indices in halves.items():
            results.append(_result(labeler, batch, probe, half, [values[i] for i in indices]))
        if probe.endswith(IN_PAIRS) == shows_both:
            odds += [pair_odds[i] for i in halves["calibration"] if not math.isnan(pair_odds[i])]
    return ProbeOutcome(method, tuple(results), tuple(odds))


def sentinel_results(
    labeler: str, batches: Mapping[str, Batch], rows: Mapping[str, Judgment]
) -> list[ProbeResult]:
    """Return the results on each kind of sentinel."""
    results = []
    for kind, batch in batches.items():
        values, _ = _read_batch(batch, [rows[i] for i in judgment_ids(labeler, batch)])
        results.append(_result(labeler, batch, kind, "test", values))
    return results


def best_method(outcomes: Sequence[ProbeOutcome]) -> ProbeOutcome:
    """Return the method with the best accuracy on its worst probe, on the calibration halves; the
    sum of AUCs breaks ties.
    """

    def merit(outcome: ProbeOutcome) -> tuple[float, float]:
        calibration = [r for r in outcome.results if r.half == "calibration"]
        return min(r.accuracy for r in calibration), sum(r.auc for r in calibration)

    return max(outcomes, key=merit)


@cache
def trivial_accuracy(probe: str) -> float:
    """Return the best accuracy on a probe that needs no labeler: chance, or always the longer or
    always the shorter text.
    """
    return max(0.5, longer_baseline(gold_set(probe.removesuffix(IN_PAIRS)).pairs))


def fit_temperature(log_odds: Sequence[float]) -> float:
    """Return the temperature that log-odds of good over bad are divided by to be calibrated.

    One imaginary wrong pair is added to the targets (Platt 1999), so that a labeler that is right
    on a dozen pairs does not become certain.
    """
    target = (len(log_odds) + 1) / (len(log_odds) + 2)
    if not log_odds:
        return 1.0
    return fit_calibration(np.array(log_odds), np.full(len(log_odds), target)).temperature


def admit(labeler: str, rubric: Rubric, outcome: ProbeOutcome) -> Admission:
    """Decide whether the labeler may label by the rubric with the chosen method."""
    tested = [r for r in outcome.results if r.half == "test"]
    failed = [r for r in tested if r.lower <= trivial_accuracy(r.probe)]
    reason = "; ".join(
        f"{r.probe} {r.accuracy:.2f} [{r.lower:.2f}, {r.upper:.2f}]" for r in failed or tested
    )
    return Admission(
        admission_id=content_key(labeler, rubric.digest, items_digest()),
        labeler=labeler,
        rubric=rubric.id,
        method=outcome.method,
        admitted=not failed,
        reason=reason,
        temperature=fit_temperature(outcome.log_odds),
    )


@dataclass(frozen=True)
class LabelerMeasurement:
    """The results of a labeler on one rubric, its admission, and the judgments they are computed
    from.
    """

    results: list[ProbeResult]
    admission: Admission
    rows: list[Judgment]


def _judge_all(judge: Judge, batches: Mapping[str, Batch]) -> dict[str, Judgment]:
    return {row.judgment_id: row for batch in batches.values() for row in judge.judge(batch)}


def measure_labeler(
    judge: Judge, rubric: Rubric, num_items: int, report: Callable[[float], None] | None = None
) -> LabelerMeasurement:
    """Measure every elicitation method on the rubric's probes, choose the best, and decide on
    admission.
    """
    outcomes: list[ProbeOutcome] = []
    rows: dict[str, Judgment] = {}
    for method in rubric.usable_methods(judge.methods):
        batches = probe_batches(rubric, method, num_items, not judge.values_sides)
        rows |= _judge_all(judge, batches)
        outcomes.append(probe_outcome(judge.name, method, batches, rows))
        if report:
            report(1)
    best = best_method(outcomes)
    admission = admit(judge.name, rubric, best)
    results = [result for outcome in outcomes for result in outcome.results]
    if admission.admitted:
        sentinels = sentinel_batches(rubric, best.method, num_items)
        # Judgments that the admission rests on are not replaced.
        rows = _judge_all(judge, sentinels) | rows
        results += sentinel_results(judge.name, sentinels, rows)
    return LabelerMeasurement(results, admission, list(rows.values()))
