"""Judging the judge before it labels: which way of asking works, and whether any is better than
chance.

Half of each probe's pairs chooses the way, the other half decides on admission, so that choosing
the best of several ways does not flatter it. A labeler is admitted to a rubric only when on every
probe the lower bound of its pair accuracy (Wilson, one-sided 95%) is above one half, and above what
going by length alone would give. One that looks at both sides of a pair is measured so too.
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
from judges.judgment.judging import Batch, comparisons_of, judgment_ids
from judges.judgment.pairs import SIGN
from judges.judgment.protocol import Judge
from judges.measuring.intervals import accuracy_of
from judges.measuring.outcomes import longer_baseline
from judges.measuring.probes import ProbePair, gold_set, items_digest, probe_pairs, sentinel_pairs
from judges.measuring.reliability import fit
from judges.rubrics import Rubric

IN_PAIRS = "/pairs"
"""Behind a probe's name: asked about both sides at once."""
SENTINEL = "sentinel/"
"""Before the name of a kind of sentinel: measured so that a change is noticed, and no condition of
admission."""
Values = tuple[float, float]
"""What the good and the bad side of a pair got."""


@dataclass(frozen=True)
class Measured:
    """How a labeler did when asked in one way, and the log-odds of good over bad on the calibration
    halves.
    """

    way: str
    results: tuple[ProbeResult, ...]
    odds: tuple[float, ...]


def measure(good: Sequence[float], bad: Sequence[float]) -> tuple[float, float, float, float]:
    """(pair accuracy, lower, upper, AUC) of values that good and bad subjects of the same pairs
    got.

    A tie counts as half right; the interval is Wilson's at 90%, on the number right rounded down.
    """
    wins = np.sign(np.asarray(good) - np.asarray(bad)) / 2 + 0.5
    accuracy = accuracy_of(wins, 0.9)
    auc = mannwhitneyu(good, bad).statistic / (len(good) * len(bad))
    return accuracy.value, accuracy.low, accuracy.high, float(auc)


def _result(
    labeler: str, batch: Batch, probe: str, half: str, values: Sequence[Values]
) -> ProbeResult:
    accuracy, lower, upper, auc = measure([a for a, _ in values], [b for _, b in values])
    rubric, way = batch.rubric, batch.way
    key = content_key(labeler, rubric.digest, way, probe, half, items_digest(), len(values))
    return ProbeResult(
        key, labeler, rubric.id, way, probe, half, len(values), accuracy, lower, upper, auc
    )


def _halves(number: int) -> dict[str, list[int]]:
    return {"calibration": list(range(0, number, 2)), "test": list(range(1, number, 2))}


def _sides(rubric: Rubric, way: str, pairs: Sequence[ProbePair]) -> Batch:
    return Batch(
        rubric,
        "pointwise",
        way,
        subjects=[side for pair in pairs for side in (pair.good, pair.bad)],
    )


def probe_batches(rubric: Rubric, way: str, num_items: int, shows_both: bool) -> dict[str, Batch]:
    """What a labeler is measured on when asked in one way, by the probe's name."""
    found = {probe: _sides(rubric, way, probe_pairs(probe, num_items)) for probe in rubric.probes}
    if shows_both and rubric.choice is not None:
        found |= {
            probe + IN_PAIRS: Batch(rubric, "pairwise", way, pairs=gold_set(probe, num_items).pairs)
            for probe in rubric.probes
        }
    return found


def sentinel_batches(rubric: Rubric, way: str, num_items: int) -> dict[str, Batch]:
    """What a labeler's answers to sentinels are measured on, by the name of the kind."""
    kinds = sentinel_pairs(rubric.probes, num_items)
    return {SENTINEL + kind: _sides(rubric, way, pairs) for kind, pairs in kinds.items()}


def _values_in(batch: Batch, rows: Sequence[Judgment]) -> tuple[list[Values], list[float]]:
    """(values of the good and the bad side, log-odds of good over bad or nan) of each pair of a
    batch.

    An unscored subject loses its pair.
    """
    if batch.mode == "pairwise":
        said = zip(batch.pairs, comparisons_of(rows), strict=True)
        odds = [c.log_odds * SIGN[p.truth or "tie"] if c.is_scored else math.nan for p, c in said]
        return [(0.0 if math.isnan(x) else x, 1.0 if math.isnan(x) else 0.0) for x in odds], odds
    values, odds = [], []
    for good, bad in zip(rows[::2], rows[1::2], strict=True):
        scored = good.status == bad.status == "scored"
        values.append(
            (
                good.value if good.status == "scored" else -1.0,
                bad.value if bad.status == "scored" else 2.0,
            )
        )
        odds.append(logit(good.value) - logit(bad.value) if scored else math.nan)
    return values, odds


def measured_from(
    labeler: str, way: str, batches: Mapping[str, Batch], rows: Mapping[str, Judgment]
) -> Measured:
    """How one way of asking does on each probe, for both halves, by the rows (by id) of what was
    said.
    """
    shows_both = any(probe.endswith(IN_PAIRS) for probe in batches)
    results, odds = [], []
    for probe, batch in batches.items():
        values, log_odds = _values_in(batch, [rows[i] for i in judgment_ids(labeler, batch)])
        for half, places in _halves(len(values)).items():
            results.append(_result(labeler, batch, probe, half, [values[i] for i in places]))
        if probe.endswith(IN_PAIRS) == shows_both:
            odds += [
                log_odds[i]
                for i in _halves(len(values))["calibration"]
                if not math.isnan(log_odds[i])
            ]
    return Measured(way, tuple(results), tuple(odds))


def sentinel_results(
    labeler: str, batches: Mapping[str, Batch], rows: Mapping[str, Judgment]
) -> list[ProbeResult]:
    """How the labeler does on the kinds of pairs that will ride along with its work."""
    return [
        _result(
            labeler,
            batch,
            kind,
            "test",
            _values_in(batch, [rows[i] for i in judgment_ids(labeler, batch)])[0],
        )
        for kind, batch in batches.items()
    ]


def choose_way(measured: Sequence[Measured]) -> Measured:
    """The way whose worst probe is best on the calibration half; AUC settles ties."""

    def merit(one: Measured) -> tuple[float, float]:
        mine = [r for r in one.results if r.half == "calibration"]
        return min(r.accuracy for r in mine), sum(r.auc for r in mine)

    return max(measured, key=merit)


@cache
def trivial_accuracy(probe: str) -> float:
    """The accuracy of the best rule on a probe that needs no labeler: a coin, or the longer or the
    shorter text.
    """
    return max(0.5, longer_baseline(gold_set(probe.removesuffix(IN_PAIRS)).pairs))


def temperature_of(odds: Sequence[float]) -> float:
    """What to divide log-odds by, so that they mean what they say; pairs count as right but one
    imagined one.

    The imagined pair (Platt 1999) keeps a labeler that is always right on a dozen pairs from being
    certain.
    """
    target = (len(odds) + 1) / (len(odds) + 2)
    return fit(np.array(odds), np.full(len(odds), target)).temperature if odds else 1.0


def admit(labeler: str, rubric: Rubric, measured: Measured) -> Admission:
    """Whether the labeler may label by the rubric in the way chosen for it."""
    tested = [r for r in measured.results if r.half == "test"]
    failed = [r for r in tested if r.lower <= trivial_accuracy(r.probe)]
    reason = "; ".join(
        f"{r.probe} {r.accuracy:.2f} [{r.lower:.2f}, {r.upper:.2f}]" for r in failed or tested
    )
    key = content_key(labeler, rubric.digest, items_digest())
    temperature = temperature_of(measured.odds)
    return Admission(key, labeler, rubric.id, measured.way, not failed, reason, temperature)


@dataclass(frozen=True)
class Calibrated:
    """What is known of a labeler by one rubric, and the judgments that it rests on."""

    results: list[ProbeResult]
    admission: Admission
    rows: list[Judgment]


def _asked(judge: Judge, batches: Mapping[str, Batch]) -> dict[str, Judgment]:
    return {row.judgment_id: row for batch in batches.values() for row in judge.judge(batch)}


def calibrate(
    judge: Judge, rubric: Rubric, num_items: int, report: Callable[[float], None] | None = None
) -> Calibrated:
    """Measure every way of asking and decide on admission."""
    measured: list[Measured] = []
    rows: dict[str, Judgment] = {}
    for way in rubric.usable(judge.ways):
        batches = probe_batches(rubric, way, num_items, not judge.values_sides)
        rows |= _asked(judge, batches)
        measured.append(measured_from(judge.name, way, batches, rows))
        if report:
            report(1)
    best = choose_way(measured)
    admission = admit(judge.name, rubric, best)
    results = [result for one in measured for result in one.results]
    if admission.admitted:
        sentinels = sentinel_batches(rubric, best.way, num_items)
        rows = (
            _asked(judge, sentinels) | rows
        )  # what was asked before keeps the answer that the admission rests on
        results += sentinel_results(judge.name, sentinels, rows)
    return Calibrated(results, admission, list(rows.values()))
