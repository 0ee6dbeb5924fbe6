"""How far a labeler can be trusted on pairs: measured on gold, beside the baselines that need no labeler.

The calibration half of gold chooses the way of asking; every number comes from the test half. An unscored pair
counts as an error. A gold tie counts as half right for whatever is said, and is left out of kappa.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from infra.labeler_records import Datasheet
from infra.records import content_key
from judges.gold import GoldSet
from judges.intervals import Interval, accuracy_of
from judges.outcomes import Floats, longer_baseline, majority_baseline, outcomes_of, right
from judges.pairs import SIGN, Comparison, Pair
from judges.probes import shuffled_words
from judges.protocol import Judge
from judges.reliability import Calibration, brier, expected_calibration_error, fit
from judges.rubrics import CHOICE, Rubric

LADDER = (0.25, 0.5, 0.75, 1.0)
"""Shares of a good answer's words that are put in another order, each of which should cost more than the last."""
LADDER_PAIRS = 16
RESAMPLES = 500
Report = Callable[[float], None]


def kappa_of(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Interval:
    """Cohen's kappa of verdicts and truths over scored pairs without gold ties, with a bootstrap interval of 95%."""
    said = [
        (pair.truth, c.verdict())
        for pair, c in zip(pairs, comparisons, strict=True)
        if c.is_scored and pair.truth != "tie"
    ]
    if len(said) < 2:
        return Interval(float("nan"), float("nan"), float("nan"))
    truths, verdicts = (np.array(column) for column in zip(*said, strict=True))

    def kappa(a: NDArray[np.str_], b: NDArray[np.str_]) -> float:
        agreed = cohen_kappa_score(a, b) if len(set(a) | set(b)) > 1 else 0.0
        return float(agreed)

    value = kappa(truths, verdicts)
    drawn = bootstrap((truths, verdicts), kappa, paired=True, vectorized=False, n_resamples=RESAMPLES,
                      method="percentile", rng=np.random.default_rng(0))  # fmt: skip
    return Interval(value, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def length_slope(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> float:
    """Log-odds that a thousand characters more add to a side's chance of being named, at equal truth.

    A logistic regression of the verdict on the difference in length and on the truth.
    """
    used = [(p, c) for p, c in zip(pairs, comparisons, strict=True) if c.is_scored]
    features = np.array([
        [(len(p.a) - len(p.b)) / 1000, SIGN[p.truth or "tie"]] for p, _ in used
    ]).reshape(-1, 2)  # fmt: skip
    named = np.array([c.log_odds > 0 for _, c in used], dtype=int)
    if len(set(named.tolist())) < 2:
        return 0.0
    return float(LogisticRegression(C=10.0, fit_intercept=False).fit(features, named).coef_[0, 0])


def pair_ways(judge: Judge, rubric: Rubric) -> list[str]:
    """The ways in which a labeler can be asked about pairs by a rubric."""
    return [*rubric.usable(judge.ways), *([CHOICE] if rubric.choice is not None and judge.values_sides else [])]


def choose_way(
    judge: Judge, rubric: Rubric, ways: Sequence[str], pairs: Sequence[Pair], report: Report | None = None
) -> tuple[str, list[Comparison]]:
    """The way of asking that is right most often on calibration pairs, the first of equals, and what it said."""
    said: list[list[Comparison]] = []
    for way in ways:
        said.append(judge.compare(rubric, way, pairs))
        if report:
            report(1)
    merits = [float(right(pairs, one).mean()) if pairs else 0.0 for one in said]
    best = int(np.argmax(merits))
    return ways[best], said[best]


def reliability(
    calibration: Sequence[Pair], said: Sequence[Comparison], test: Sequence[Pair], answers: Sequence[Comparison]
) -> tuple[Calibration, list[float]]:
    """The calibration fitted on one half, and on the other (Brier, ECE) before and after it."""
    known = [(p, c) for p, c in zip(calibration, said, strict=True) if c.is_scored]
    asked = [(p, c) for p, c in zip(test, answers, strict=True) if c.is_scored]
    fitted = fit(np.array([c.log_odds for _, c in known]), outcomes_of([p for p, _ in known]))
    outcomes = outcomes_of([p for p, _ in asked])
    before = np.array([c.probability for _, c in asked])
    after = fitted.probability(np.array([c.log_odds for _, c in asked]))
    return fitted, [
        number
        for probabilities in (before, after)
        for number in (brier(probabilities, outcomes), expected_calibration_error(probabilities, outcomes))
    ]


def ladder(judge: Judge, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[float]:
    """For each step of `LADDER`, how often the better answer wins over itself with that share of words shuffled."""
    shares = []
    good = [(p.prompt, p.a if p.truth == "A" else p.b) for p in pairs if p.truth != "tie"][:LADDER_PAIRS]
    for step in LADDER:
        worse = [
            Pair(content_key(text, step), prompt, text, _partly_shuffled(text, step), "A") for prompt, text in good
        ]
        shares.append(float(right(worse, judge.compare(rubric, way, worse)).mean()) if worse else float("nan"))
    return shares


def _partly_shuffled(text: str, share: float) -> str:
    words = text.split()
    count = max(2, round(share * len(words)))
    return " ".join([*shuffled_words(" ".join(words[:count]), text).split(), *words[count:]]) if words else text


def nothing_wins(judge: Judge, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> float:
    """How often an answer wins over an empty one; less than always means that saying nothing pays."""
    asked = [Pair(content_key(p.pair_id, "empty"), p.prompt, p.a, "", "A") for p in pairs[:LADDER_PAIRS]]
    return float(right(asked, judge.compare(rubric, way, asked)).mean())


def identical_ties(judge: Judge, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> float:
    """How often two equal answers are called a tie (log-odds within a hundredth)."""
    same = [replace(p, pair_id=content_key(p.pair_id, "same"), b=p.a, truth="tie") for p in pairs[:LADDER_PAIRS]]
    said = judge.compare(rubric, way, same)
    return float(np.mean([c.is_scored and c.verdict(0.01) == "tie" for c in said]))


def measure(judge: Judge, rubric: Rubric, gold: GoldSet, limit: int = 0, report: Report | None = None) -> Datasheet:
    """The datasheet of a labeler on one gold set; `limit` bounds the pairs of each half, 0 takes all.

    `report` is told of steps: one a way of asking, and three more.
    """
    calibration, test = (gold.half(name)[: limit or None] for name in ("calibration", "test"))
    way, said = choose_way(judge, rubric, pair_ways(judge, rubric), calibration, report)
    started = time.perf_counter()
    comparisons = judge.compare(rubric, way, test)
    seconds = time.perf_counter() - started
    if report:
        report(1)
    scored = [(p, c) for p, c in zip(test, comparisons, strict=True) if c.is_scored]
    scores = right(test, comparisons)
    accuracy, kappa = accuracy_of(scores), kappa_of(test, comparisons)
    consistent = [(p, c) for p, c in scored if c.is_consistent]
    fitted, errors = reliability(calibration, said, test, comparisons)
    steps = ladder(judge, rubric, way, test)
    if report:
        report(1)
    sheet = Datasheet(
        datasheet_id=content_key(judge.name, rubric.digest, gold.digest, way, limit),
        labeler=judge.name, rubric=rubric.id, way=way, gold=gold.name, gold_digest=gold.digest,
        num_pairs=len(test), num_unscored=len(test) - len(scored),
        accuracy=accuracy.value, accuracy_low=accuracy.low, accuracy_high=accuracy.high,
        kappa=kappa.value, kappa_low=kappa.low, kappa_high=kappa.high,
        calibration=fitted.kind, temperature=fitted.temperature,
        brier=errors[0], ece=errors[1], brier_calibrated=errors[2], ece_calibrated=errors[3],
        majority=majority_baseline(test), longer=longer_baseline(test),
        admission_low=accuracy_of(scores, 0.9).low,
        consistency=_mean([c.is_consistent for _, c in scored]),
        right_if_consistent=_mean(right([p for p, _ in consistent], [c for _, c in consistent])),
        first_place_gap=_mean([c.gap for _, c in scored]),
        length_slope=length_slope(test, comparisons),
        ladder_25=steps[0], ladder_50=steps[1], ladder_75=steps[2], ladder_100=steps[3],
        over_empty=nothing_wins(judge, rubric, way, test), identical_ties=identical_ties(judge, rubric, way, test),
        seconds=seconds, num_tokens=sum(c.num_tokens for c in comparisons),
    )  # fmt: skip
    if report:
        report(1)
    return sheet


def is_admitted(sheet: Datasheet) -> bool:
    """Whether the lower bound of accuracy (one-sided 95%) is above chance and every trivial baseline."""
    return sheet.admission_low > max(0.5, sheet.majority, sheet.longer)


def _mean(values: Sequence[float] | Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
