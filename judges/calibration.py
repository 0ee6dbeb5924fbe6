"""Judging the judge before it labels: which way of asking works, and whether any is better than chance.

Half of each probe's pairs chooses the way, the other half decides on admission, so that choosing the
best of several ways does not flatter it. A labeler is admitted to a rubric only when on every probe
the lower bound of its pair accuracy (Wilson, one-sided 95%) is above one half, and above what going by length
alone would give. One that looks at both sides of a pair is measured so too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import mannwhitneyu

from infra.labeler_records import Admission, ProbeResult
from infra.records import content_key
from judges.answers import Answer, logit
from judges.intervals import accuracy_of
from judges.outcomes import longer_baseline
from judges.pairs import SIGN
from judges.probes import ProbePair, gold_set, items_digest, probe_pairs, sentinel_pairs
from judges.protocol import Judge
from judges.reliability import fit
from judges.rubrics import Rubric

IN_PAIRS = "/pairs"
"""Behind a probe's name: asked about both sides at once."""
SENTINEL = "sentinel/"
"""Before the name of a kind of sentinel: measured so that a change is noticed, and no condition of admission."""
Values = tuple[float, float]
"""What the good and the bad side of a pair got."""


@dataclass(frozen=True)
class Measured:
    """How a labeler did when asked in one way, and the log-odds of good over bad on the calibration halves."""

    way: str
    results: tuple[ProbeResult, ...]
    odds: tuple[float, ...]


def measure(good: Sequence[float], bad: Sequence[float]) -> tuple[float, float, float, float]:
    """(pair accuracy, lower, upper, AUC) of values that good and bad subjects of the same pairs got.

    A tie counts as half right; the interval is Wilson's at 90%, on the number right rounded down.
    """
    wins = np.sign(np.asarray(good) - np.asarray(bad)) / 2 + 0.5
    accuracy = accuracy_of(wins, 0.9)
    auc = mannwhitneyu(good, bad).statistic / (len(good) * len(bad))
    return accuracy.value, accuracy.low, accuracy.high, float(auc)


def _result(judge: Judge, rubric: Rubric, way: str, probe: str, half: str, values: Sequence[Values]) -> ProbeResult:
    accuracy, lower, upper, auc = measure([a for a, _ in values], [b for _, b in values])
    key = content_key(judge.name, rubric.digest, way, probe, half, items_digest(), len(values))
    return ProbeResult(key, judge.name, rubric.id, way, probe, half, len(values), accuracy, lower, upper, auc)


def _values(good: Answer, bad: Answer) -> Values:
    """Values of both sides; an unscored subject loses its pair."""
    return -1.0 if good.value is None else good.value, 2.0 if bad.value is None else bad.value


def _halves(number: int) -> dict[str, list[int]]:
    return {"calibration": list(range(0, number, 2)), "test": list(range(1, number, 2))}


def _alone(judge: Judge, rubric: Rubric, way: str, pairs: Sequence[ProbePair]) -> tuple[list[Values], list[float]]:
    """(values, log-odds of good over bad or nan) of pairs whose sides are valued alone."""
    answers = judge.score(rubric, way, [side for pair in pairs for side in (pair.good, pair.bad)])
    both = list(zip(answers[::2], answers[1::2], strict=True))
    odds = [
        math.nan if a.value is None or b.value is None else logit(a.value) - logit(b.value) for a, b in both
    ]  # fmt: skip
    return [_values(a, b) for a, b in both], odds


def _together(judge: Judge, rubric: Rubric, way: str, probe: str, count: int) -> tuple[list[Values], list[float]]:
    """As `_alone`, both sides shown at once."""
    pairs = gold_set(probe, count).pairs
    said = judge.compare(rubric, way, pairs)
    odds = [
        c.log_odds * SIGN[p.truth or "tie"] if c.is_scored else math.nan for p, c in zip(pairs, said, strict=True)
    ]  # fmt: skip
    return [(0.0 if math.isnan(x) else x, 1.0 if math.isnan(x) else 0.0) for x in odds], odds


def measure_way(judge: Judge, rubric: Rubric, way: str, num_items: int) -> Measured:
    """How one way of asking does on each probe of the rubric, for both halves."""
    found = {probe: _alone(judge, rubric, way, probe_pairs(probe, num_items)) for probe in rubric.probes}
    shows_both = rubric.choice is not None and not judge.values_sides
    if shows_both:
        found |= {probe + IN_PAIRS: _together(judge, rubric, way, probe, num_items) for probe in rubric.probes}
    results, odds = [], []
    for probe, (values, log_odds) in found.items():
        for half, places in _halves(len(values)).items():
            results.append(_result(judge, rubric, way, probe, half, [values[i] for i in places]))
        if probe.endswith(IN_PAIRS) == shows_both:
            odds += [log_odds[i] for i in _halves(len(values))["calibration"] if not math.isnan(log_odds[i])]
    return Measured(way, tuple(results), tuple(odds))


def measure_sentinels(judge: Judge, rubric: Rubric, way: str, num_items: int) -> list[ProbeResult]:
    """How the labeler does on the kinds of pairs that will ride along with its work."""
    results = []
    for kind, pairs in sentinel_pairs(rubric.probes, num_items).items():
        values, _ = _alone(judge, rubric, way, pairs)
        results.append(_result(judge, rubric, way, SENTINEL + kind, "test", values))
    return results


def choose_way(measured: Sequence[Measured]) -> Measured:
    """The way whose worst probe is best on the calibration half; AUC settles ties."""

    def merit(one: Measured) -> tuple[float, float]:
        mine = [r for r in one.results if r.half == "calibration"]
        return min(r.accuracy for r in mine), sum(r.auc for r in mine)

    return max(measured, key=merit)


@cache
def trivial_accuracy(probe: str) -> float:
    """The accuracy of the best rule on a probe that needs no labeler: a coin, or the longer or the shorter text."""
    return max(0.5, longer_baseline(gold_set(probe.removesuffix(IN_PAIRS)).pairs))


def temperature_of(odds: Sequence[float]) -> float:
    """What to divide log-odds by, so that they mean what they say; pairs count as right but one imagined one.

    The imagined pair (Platt 1999) keeps a labeler that is always right on a dozen pairs from being certain.
    """
    target = (len(odds) + 1) / (len(odds) + 2)
    return fit(np.array(odds), np.full(len(odds), target)).temperature if odds else 1.0


def admit(judge: Judge, rubric: Rubric, measured: Measured) -> Admission:
    """Whether the labeler may label by the rubric in the way chosen for it."""
    tested = [r for r in measured.results if r.half == "test"]
    failed = [r for r in tested if r.lower <= trivial_accuracy(r.probe)]
    reason = "; ".join(f"{r.probe} {r.accuracy:.2f} [{r.lower:.2f}, {r.upper:.2f}]" for r in failed or tested)
    key = content_key(judge.name, rubric.digest, items_digest())
    temperature = temperature_of(measured.odds)
    return Admission(key, judge.name, rubric.id, measured.way, not failed, reason, temperature)


def calibrate(
    judge: Judge, rubric: Rubric, num_items: int, report: Callable[[float], None] | None = None
) -> tuple[list[ProbeResult], Admission]:
    """Measure every way of asking and decide on admission."""
    measured: list[Measured] = []
    for way in rubric.usable(judge.ways):
        measured.append(measure_way(judge, rubric, way, num_items))
        if report:
            report(1)
    best = choose_way(measured)
    admission = admit(judge, rubric, best)
    results = [result for one in measured for result in one.results]
    if admission.admitted:
        results += measure_sentinels(judge, rubric, best.way, num_items)
    return results, admission
