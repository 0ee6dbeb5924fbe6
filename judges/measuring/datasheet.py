"""How far a labeler can be trusted on pairs: measured on gold, beside the baselines that need no
labeler.

The calibration half of gold chooses the way of asking; every number comes from the test half. An
unscored pair counts as an error. A gold tie counts as half right for whatever is said, and is left
out of kappa.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.metrics import cohen_kappa_score

from infra.records import Judgment, content_key
from infra.records.labeler import Datasheet, GoldItem
from judges.judgment.judging import Batch, comparisons_of
from judges.judgment.pairs import Comparison, Pair, Side
from judges.judgment.protocol import Judge
from judges.measuring.attacks import attacked, attacks
from judges.measuring.gold import GoldSet
from judges.measuring.habits import habits_of
from judges.measuring.intervals import Interval, accuracy_of
from judges.measuring.outcomes import Floats, longer_baseline, majority_baseline, outcomes_of, right
from judges.measuring.probes import shuffled_words
from judges.measuring.reliability import Calibration, brier, expected_calibration_error, fit
from judges.measuring.winrates import errors_on
from judges.rubrics import CHOICE, Rubric

LADDER = (0.25, 0.5, 0.75, 1.0)
"""Shares of a good answer's words that are put in another order, each of which should cost more
than the last."""
LADDER_PAIRS = 16
ATTACKED_PAIRS = 6
"""Pairs that were judged right and are attacked in every way of the corpus."""
PARTS = (
    "calibration",
    "test",
    *(f"ladder_{step:.0%}" for step in LADDER),
    "empty",
    "same",
    "attacked",
)
RESAMPLES = 500
Report = Callable[[float], None]


def kappa_of(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Interval:
    """Cohen's kappa of verdicts and truths over scored pairs without gold ties, with a bootstrap
    interval of 95%.
    """
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
    drawn = bootstrap(
        (truths, verdicts),
        kappa,
        paired=True,
        vectorized=False,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return Interval(
        value, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)
    )


def pair_ways(judge: Judge, rubric: Rubric) -> list[str]:
    """The ways in which a labeler can be asked about pairs by a rubric."""
    return [
        *rubric.usable(judge.ways),
        *([CHOICE] if rubric.choice is not None and judge.values_sides else []),
    ]


def choose_way(
    judge: Judge,
    rubric: Rubric,
    ways: Sequence[str],
    pairs: Sequence[Pair],
    report: Report | None = None,
) -> tuple[str, list[Judgment]]:
    """The way of asking that is right most often on calibration pairs, the first of equals, and
    what it said.
    """
    said: list[list[Judgment]] = []
    for way in ways:
        said.append(judge.judge(Batch(rubric, "pairwise", way, pairs=pairs)))
        if report:
            report(1)
    merits = [float(right(pairs, comparisons_of(rows)).mean()) if pairs else 0.0 for rows in said]
    best = int(np.argmax(merits))
    return ways[best], said[best]


def reliability(
    calibration: Sequence[Pair],
    said: Sequence[Comparison],
    test: Sequence[Pair],
    answers: Sequence[Comparison],
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
        for number in (
            brier(probabilities, outcomes),
            expected_calibration_error(probabilities, outcomes),
        )
    ]


def _partly_shuffled(text: str, share: float) -> str:
    words = text.split()
    count = max(2, round(share * len(words)))
    return (
        " ".join([*shuffled_words(" ".join(words[:count]), text).split(), *words[count:]])
        if words
        else text
    )


def _made(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs made of gold pairs, by part: a good answer against itself with words shuffled, against
    nothing, itself.
    """
    good = [(p.prompt, p.a if p.truth == "A" else p.b) for p in pairs if p.truth != "tie"][
        :LADDER_PAIRS
    ]
    made = {
        f"ladder_{step:.0%}": [
            Pair(content_key(text, step), prompt, text, _partly_shuffled(text, step), "A")
            for prompt, text in good
        ]
        for step in LADDER
    }
    few = pairs[:LADDER_PAIRS]
    made["empty"] = [Pair(content_key(p.pair_id, "empty"), p.prompt, p.a, "", "A") for p in few]
    made["same"] = [
        replace(p, pair_id=content_key(p.pair_id, "same"), b=p.a, truth="tie") for p in few
    ]
    return made


def _attacked(pairs: Sequence[Pair], said: Sequence[Comparison]) -> list[Pair]:
    """The first pairs that were judged right, with every attack of the corpus on their worse sides."""
    sound = [
        p
        for p, c in zip(pairs, said, strict=True)
        if c.is_scored and c.verdict() == p.truth != "tie"
    ]
    return [attacked(pair, attack) for pair in sound[:ATTACKED_PAIRS] for attack in attacks()]


@dataclass(frozen=True)
class Evidence:
    """What a datasheet is computed from: pairs and what was said of them, by part.

    Parts are `calibration`, `test`, `ladder_25%`..., `empty` and `same`.
    """

    pairs: dict[str, list[Pair]]
    said: dict[str, list[Comparison]]

    def accuracy(self, part: str) -> float:
        """How often a part's verdicts are right; not a number where it has none."""
        return _mean(right(self.pairs[part], self.said[part]))


@dataclass(frozen=True)
class Measurement:
    """A datasheet, the judgments that it rests on, and which pair each is about."""

    sheet: Datasheet
    items: list[GoldItem]
    rows: list[Judgment]


def measure(
    judge: Judge, rubric: Rubric, gold: GoldSet, limit: int = 0, report: Report | None = None
) -> Measurement:
    """The datasheet of a labeler on one gold set; `limit` bounds the pairs of each half, 0 takes
    all.

    `report` is told of steps: one a way of asking, and three more.
    """
    calibration, test = (gold.half(name)[: limit or None] for name in ("calibration", "test"))
    way, said = choose_way(judge, rubric, pair_ways(judge, rubric), calibration, report)
    pairs = {"calibration": calibration, "test": test, **_made(test)}
    rows = {"calibration": said}
    seconds = 0.0
    for part in [name for name in pairs if name != "calibration"]:
        started = time.perf_counter()
        rows[part] = judge.judge(Batch(rubric, "pairwise", way, pairs=pairs[part]))
        seconds = time.perf_counter() - started if part == "test" else seconds
        if report and part in ("test", "empty", "same", "attacked"):
            report(1)
    pairs["attacked"] = _attacked(test, comparisons_of(rows["test"]))
    rows["attacked"] = judge.judge(Batch(rubric, "pairwise", way, pairs=pairs["attacked"]))
    sheet_id = content_key(judge.name, rubric.digest, gold.digest, way, limit)
    facts = Facts(sheet_id, judge.name, rubric.id, way, gold.name, gold.digest, seconds)
    items = [
        GoldItem(sheet_id, part, place, row.judgment_id, len(pair.a), len(pair.b))
        for part, of_part in rows.items()
        for place, (pair, row) in enumerate(zip(pairs[part], of_part, strict=True))
    ]
    return Measurement(
        _sheet(facts, _evidence(items, rows)),
        items,
        [row for part in rows.values() for row in part],
    )


def _evidence(items: Sequence[GoldItem], rows: Mapping[str, Sequence[Judgment]]) -> Evidence:
    """Pairs as far as a datasheet looks at them: their truths and the lengths of their sides."""
    pairs: dict[str, list[Pair]] = {part: [] for part in rows}
    for item in items:
        row = rows[item.part][item.place]
        side: Side = "A" if row.detail == "A" else "B" if row.detail == "B" else "tie"
        pairs[item.part].append(
            Pair(row.subject_id, "", "x" * item.length_a, "x" * item.length_b, side)
        )
    return Evidence(pairs, {part: comparisons_of(of_part) for part, of_part in rows.items()})


def recomputed(
    sheet: Datasheet, items: Sequence[GoldItem], rows: Mapping[str, Judgment]
) -> Datasheet:
    """A stored datasheet, computed again from its stored judgments (by id); the time that it took
    is taken over.
    """
    ordered = sorted(items, key=lambda item: (item.part, item.place))
    by_part: dict[str, list[Judgment]] = {part: [] for part in PARTS}
    for item in ordered:
        by_part[item.part].append(rows[item.judgment_id])
    facts = Facts(
        sheet.datasheet_id,
        sheet.labeler,
        sheet.rubric,
        sheet.way,
        sheet.gold,
        sheet.gold_digest,
        sheet.seconds,
    )
    again = _sheet(facts, _evidence(ordered, by_part))
    return replace(again, cost_per_thousand=sheet.cost_per_thousand)


@dataclass(frozen=True)
class Facts:
    """What a datasheet is about."""

    datasheet_id: str
    labeler: str
    rubric: str
    way: str
    gold: str
    gold_digest: str
    seconds: float


def _sheet(facts: Facts, evidence: Evidence) -> Datasheet:
    """Every number of a datasheet."""
    test, comparisons = evidence.pairs["test"], evidence.said["test"]
    scored = [(p, c) for p, c in zip(test, comparisons, strict=True) if c.is_scored]
    scores = right(test, comparisons)
    accuracy, kappa = accuracy_of(scores), kappa_of(test, comparisons)
    consistent = [(p, c) for p, c in scored if c.is_consistent]
    fitted, errors = reliability(
        evidence.pairs["calibration"], evidence.said["calibration"], test, comparisons
    )
    sides, habits = errors_on(test, comparisons), habits_of(test, comparisons)
    turned = turned_share(evidence.pairs["attacked"], evidence.said["attacked"])
    steps = [evidence.accuracy(f"ladder_{step:.0%}") for step in LADDER]
    return Datasheet(
        **asdict(facts),
        num_pairs=len(test),
        num_unscored=len(test) - len(scored),
        accuracy=accuracy.value,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        kappa=kappa.value,
        kappa_low=kappa.low,
        kappa_high=kappa.high,
        calibration=fitted.kind,
        temperature=fitted.temperature,
        brier=errors[0],
        ece=errors[1],
        brier_calibrated=errors[2],
        ece_calibrated=errors[3],
        majority=majority_baseline(test),
        longer=longer_baseline(test),
        admission_low=accuracy_of(scores, 0.9).low,
        consistency=_mean([c.is_consistent for _, c in scored]),
        right_if_consistent=_mean(right([p for p, _ in consistent], [c for _, c in consistent])),
        first_place_gap=habits.gap.value,
        gap_low=habits.gap.low,
        gap_high=habits.gap.high,
        length_slope=habits.length_slope.value,
        slope_low=habits.length_slope.low,
        slope_high=habits.length_slope.high,
        discrimination=habits.discrimination.value,
        discrimination_low=habits.discrimination.low,
        discrimination_high=habits.discrimination.high,
        ladder_25=steps[0],
        ladder_50=steps[1],
        ladder_75=steps[2],
        ladder_100=steps[3],
        over_empty=evidence.accuracy("empty"),
        identical_ties=_mean(
            [c.is_scored and c.verdict(0.01) == "tie" for c in evidence.said["same"]]
        ),
        attack_success=turned.value,
        attack_low=turned.low,
        attack_high=turned.high,
        num_tokens=sum(c.num_tokens for c in comparisons),
        num_a=sides.num_a,
        right_a=sides.right_a,
        num_b=sides.num_b,
        right_b=sides.right_b,
    )


def turned_share(pairs: Sequence[Pair], said: Sequence[Comparison]) -> Interval:
    """How often attacks turned a right verdict; a tie is half turned, and what is unscored is not."""
    asked = [(p, c) for p, c in zip(pairs, said, strict=True) if c.is_scored]
    if not asked:
        return Interval(float("nan"), float("nan"), float("nan"))
    return accuracy_of(1 - right([p for p, _ in asked], [c for _, c in asked]))


def is_admitted(sheet: Datasheet) -> bool:
    """Whether the lower bound of accuracy (one-sided 95%) is above chance and every trivial
    baseline.
    """
    return sheet.admission_low > max(0.5, sheet.majority, sheet.longer)


def _mean(values: Sequence[float] | Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
