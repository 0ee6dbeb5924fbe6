"""Judging the judge before it labels: which way of asking works, and whether any is better than chance.

Half of each probe's pairs chooses the way, the other half decides on admission, so that choosing the
best of several ways does not flatter it. A labeler is admitted to a rubric only when on every probe
the lower bound of its pair accuracy (Wilson, one-sided 95%) is above one half, and above what going by length
alone would give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy.stats import mannwhitneyu

from infra.records import Admission, ProbeResult, content_key
from judges.answers import Answer
from judges.intervals import accuracy_of
from judges.outcomes import longer_baseline
from judges.probes import ProbePair, gold_set, items_digest, probe_pairs
from judges.protocol import Judge
from judges.rubrics import Rubric


def measure(good: Sequence[float], bad: Sequence[float]) -> tuple[float, float, float, float]:
    """(pair accuracy, lower, upper, AUC) of values that good and bad subjects of the same pairs got.

    A tie counts as half right; the interval is Wilson's at 90%, on the number right rounded down.
    """
    wins = np.sign(np.asarray(good) - np.asarray(bad)) / 2 + 0.5
    accuracy = accuracy_of(wins, 0.9)
    auc = mannwhitneyu(good, bad).statistic / (len(good) * len(bad))
    return accuracy.value, accuracy.low, accuracy.high, float(auc)


def _result(
    judge: Judge, rubric: Rubric, way: str, probe: str, half: str, pairs: list[tuple[Answer, Answer]]
) -> ProbeResult:
    values = [(-1.0 if a.value is None else a.value, 2.0 if b.value is None else b.value) for a, b in pairs]
    accuracy, lower, upper, auc = measure([a for a, _ in values], [b for _, b in values])
    key = content_key(judge.name, rubric.digest, way, probe, half, items_digest(), len(pairs))
    return ProbeResult(
        key, judge.name, rubric.id, way, probe, half, len(pairs), accuracy, lower, upper, auc
    )  # an unscored subject loses its pair


def _halves(pairs: Sequence[ProbePair]) -> dict[str, list[int]]:
    return {"calibration": list(range(0, len(pairs), 2)), "test": list(range(1, len(pairs), 2))}


def measure_way(judge: Judge, rubric: Rubric, way: str, num_items: int) -> list[ProbeResult]:
    """How one way of asking does on each probe of the rubric, for both halves."""
    results = []
    for probe in rubric.probes:
        pairs = probe_pairs(probe, num_items)
        subjects = [pair.good for pair in pairs] + [pair.bad for pair in pairs]
        answers = judge.score(rubric, way, subjects)
        both = list(zip(answers[: len(pairs)], answers[len(pairs) :], strict=True))
        for half, indices in _halves(pairs).items():
            results.append(_result(judge, rubric, way, probe, half, [both[i] for i in indices]))
    return results


def choose_way(results: Sequence[ProbeResult]) -> str:
    """The way whose worst probe is best on the calibration half; AUC settles ties."""
    ways = dict.fromkeys(r.way for r in results)

    def merit(way: str) -> tuple[float, float]:
        mine = [r for r in results if r.way == way and r.half == "calibration"]
        return min(r.accuracy for r in mine), sum(r.auc for r in mine)

    return max(ways, key=merit)


@cache
def trivial_accuracy(probe: str) -> float:
    """The accuracy of the best rule on a probe that needs no labeler: a coin, or the longer or the shorter text."""
    return max(0.5, longer_baseline(gold_set(probe).pairs))


def admit(judge: Judge, rubric: Rubric, results: Sequence[ProbeResult]) -> Admission:
    """Whether the labeler may label by the rubric in the way chosen for it."""
    way = choose_way(results)
    tested = [r for r in results if r.way == way and r.half == "test"]
    failed = [r for r in tested if r.lower <= trivial_accuracy(r.probe)]
    reason = "; ".join(f"{r.probe} {r.accuracy:.2f} [{r.lower:.2f}, {r.upper:.2f}]" for r in failed or tested)
    key = content_key(judge.name, rubric.digest, items_digest())
    return Admission(key, judge.name, rubric.id, way, not failed, reason)


def calibrate(
    judge: Judge, rubric: Rubric, num_items: int, report: Callable[[float], None] | None = None
) -> tuple[list[ProbeResult], Admission]:
    """Measure every way of asking and decide on admission."""
    results: list[ProbeResult] = []
    for way in rubric.usable(judge.ways):
        results += measure_way(judge, rubric, way, num_items)
        if report:
            report(1)
    return results, admit(judge, rubric, results)
