"""Datasheets: how reliable a labeler is on gold pairs, compared with baselines without a labeler.

The calibration half of the gold pairs chooses the elicitation method; all numbers are measured on
the test half. An unscored pair counts as an error. A gold tie counts as half right for any verdict
and is left out of kappa.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from infra.errors import UserError
from infra.records import Judgment, content_key
from infra.records.labeler import (
    LADDER_SHARES,
    Baselines,
    Datasheet,
    GoldItem,
    Interval,
    LabelingCost,
    ProbabilityErrors,
    Robustness,
)
from judges.judgment.batches import Batch, read_comparisons
from judges.judgment.pairs import Comparison, Pair, Side
from judges.judgment.protocol import Judge
from judges.measuring.accuracy import (
    Floats,
    longer_baseline,
    majority_baseline,
    right,
    truth_values,
)
from judges.measuring.attacks import attacked, attacks
from judges.measuring.calibration import brier, expected_calibration_error, fit_calibration
from judges.measuring.gold import GoldSet
from judges.measuring.habits import labeler_habits
from judges.measuring.intervals import accuracy_interval, not_measured, paired_interval
from judges.measuring.probes.making import shuffled_words
from judges.measuring.win_rates import count_errors
from judges.rubrics import CHOICE, Rubric

MAX_LADDER_PAIRS = 16
MAX_ATTACKED_PAIRS = 6
"""Pairs with a right verdict that are attacked with every attack."""
IDENTICAL_TIE_BAND = 0.01
"""Largest |log-odds| (nats) at which identical texts count as a tie."""
ProgressReport = Callable[[float], None]


def _ladder_part(share: float) -> str:
    return f"ladder_{share:.0%}"


PARTS = ("calibration", "test", *map(_ladder_part, LADDER_SHARES), "empty", "same", "attacked")
"""The sets of pairs that a datasheet is computed from."""


@dataclass(frozen=True)
class PartResults:
    """Pairs and a labeler's comparisons of them, in the same order."""

    pairs: Sequence[Pair]
    comparisons: Sequence[Comparison]

    def scored(self) -> PartResults:
        """Return only the scored pairs."""
        return self._filtered([c.is_scored for c in self.comparisons])

    def consistent(self) -> PartResults:
        """Return only the pairs whose verdict is the same in both orders."""
        return self._filtered([c.is_scored and c.is_consistent for c in self.comparisons])

    def _filtered(self, is_kept: Sequence[bool]) -> PartResults:
        return PartResults(
            [p for p, kept in zip(self.pairs, is_kept, strict=True) if kept],
            [c for c, kept in zip(self.comparisons, is_kept, strict=True) if kept],
        )

    def right(self) -> Floats:
        """Return 1 for each right verdict, 0 for a wrong one, 0.5 for ties, shape (pairs,)."""
        return right(self.pairs, self.comparisons)

    def accuracy(self) -> float:
        """Return the share of right verdicts; NaN if there are no pairs."""
        return _mean(self.right())


DatasheetInputs = Mapping[str, PartResults]
"""Results by part, for every part in `PARTS`."""


def cohen_kappa(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> Interval:
    """Return Cohen's kappa of verdicts and truths with its 95% bootstrap interval.

    Unscored pairs and gold ties are left out.
    """
    labels = [
        (pair.truth, c.verdict())
        for pair, c in zip(pairs, comparisons, strict=True)
        if c.is_scored and pair.truth != "tie"
    ]
    if len(labels) < 2:
        return not_measured()
    truths, verdicts = (np.array(column) for column in zip(*labels, strict=True))

    def kappa(a: NDArray[np.str_], b: NDArray[np.str_]) -> float:
        agreement = cohen_kappa_score(a, b) if len(set(a) | set(b)) > 1 else 0.0
        return float(agreement)

    return paired_interval(truths, verdicts, kappa)


def pair_methods(judge: Judge, rubric: Rubric) -> list[str]:
    """Return the methods by which a labeler can compare pairs with a rubric."""
    methods = rubric.usable_methods(judge.methods)
    if rubric.choice is not None and judge.values_sides:
        methods.append(CHOICE)
    return methods


def choose_pair_method(
    judge: Judge,
    rubric: Rubric,
    methods: Sequence[str],
    pairs: Sequence[Pair],
    report: ProgressReport | None = None,
) -> tuple[str, list[Judgment]]:
    """Return the most accurate method on the pairs (the first one if equal) and its judgments."""
    rows: list[list[Judgment]] = []
    for method in methods:
        rows.append(judge.judge(Batch(rubric, "pairwise", method, pairs=pairs)))
        if report:
            report(1)
    accuracies = [
        float(right(pairs, read_comparisons(judged)).mean()) if pairs else 0.0 for judged in rows
    ]
    best = int(np.argmax(accuracies))
    return methods[best], rows[best]


def probability_errors(calibration: PartResults, test: PartResults) -> ProbabilityErrors:
    """Fit a calibration curve on one half; return the errors on the other before and after it."""
    known, asked = calibration.scored(), test.scored()
    curve = fit_calibration(
        np.array([c.log_odds for c in known.comparisons]), truth_values(known.pairs)
    )
    truths = truth_values(asked.pairs)
    raw = np.array([c.probability for c in asked.comparisons])
    calibrated = curve.probability(np.array([c.log_odds for c in asked.comparisons]))
    return ProbabilityErrors(
        kind=curve.kind,
        temperature=curve.temperature,
        brier=brier(raw, truths),
        ece=expected_calibration_error(raw, truths),
        brier_calibrated=brier(calibrated, truths),
        ece_calibrated=expected_calibration_error(calibrated, truths),
    )


def _partly_shuffled(text: str, share: float) -> str:
    words = text.split()
    if not words:
        return text
    count = max(2, round(share * len(words)))
    shuffled = shuffled_words(" ".join(words[:count]), text).split()
    return " ".join([*shuffled, *words[count:]])


def _make_parts(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Return pairs made from gold pairs, by part.

    A good answer is paired with itself with words shuffled, with an empty text, and with itself.
    """
    good = [(p.prompt, p.a if p.truth == "A" else p.b) for p in pairs if p.truth != "tie"]
    parts = {
        _ladder_part(share): [
            Pair(content_key(text, share), prompt, text, _partly_shuffled(text, share), "A")
            for prompt, text in good[:MAX_LADDER_PAIRS]
        ]
        for share in LADDER_SHARES
    }
    first = pairs[:MAX_LADDER_PAIRS]
    parts["empty"] = [Pair(content_key(p.pair_id, "empty"), p.prompt, p.a, "", "A") for p in first]
    parts["same"] = [
        replace(p, pair_id=content_key(p.pair_id, "same"), b=p.a, truth="tie") for p in first
    ]
    return parts


def _make_attacked(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> list[Pair]:
    """Return the first pairs with a right verdict, with every attack on their worse sides."""
    sound = [
        p
        for p, c in zip(pairs, comparisons, strict=True)
        if c.is_scored and c.verdict() == p.truth != "tie"
    ]
    orders = [attack for attack in attacks() if attack.is_order]
    return [attacked(pair, order) for pair in sound[:MAX_ATTACKED_PAIRS] for order in orders]


@dataclass(frozen=True)
class GoldMeasurement:
    """A datasheet, the judgments it is computed from, and which pair each judgment is about."""

    sheet: Datasheet
    items: list[GoldItem]
    rows: list[Judgment]


def measure_on_gold(
    judge: Judge,
    rubric: Rubric,
    gold: GoldSet,
    limit: int = 0,
    report: ProgressReport | None = None,
) -> GoldMeasurement:
    """Return the datasheet of a labeler on one gold set.

    `limit` is the maximum number of pairs of each half; 0 takes all. `report` is called once per
    method and three more times.

    Raises:
        UserError: about `gold`, if all pairs are in one half.
    """
    calibration, test = (gold.half(name)[: limit or None] for name in ("calibration", "test"))
    if not calibration or not test:
        problem = f"{len(gold.pairs)} pairs are too few: one half is to choose the method, and one"
        problem += " to measure, and one half is empty."
        raise UserError("gold", gold.name, problem, "Give some dozens of pairs.")
    method, judged = choose_pair_method(
        judge, rubric, pair_methods(judge, rubric), calibration, report
    )
    pairs = {"calibration": calibration, "test": test, **_make_parts(test)}
    rows = {"calibration": judged}
    seconds = 0.0
    for part in [name for name in pairs if name != "calibration"]:
        started = time.perf_counter()
        rows[part] = judge.judge(Batch(rubric, "pairwise", method, pairs=pairs[part]))
        if part == "test":
            seconds = time.perf_counter() - started
        if report and part in ("test", "empty", "same"):
            report(1)
    pairs["attacked"] = _make_attacked(test, read_comparisons(rows["test"]))
    rows["attacked"] = judge.judge(Batch(rubric, "pairwise", method, pairs=pairs["attacked"]))
    sheet_id = content_key(judge.name, rubric.digest, gold.digest, method, limit)
    facts = _Facts(sheet_id, judge.name, rubric.id, method, gold.name, gold.digest, seconds)
    items = [
        GoldItem(sheet_id, part, position, row.judgment_id, len(pair.a), len(pair.b))
        for part, part_rows in rows.items()
        for position, (pair, row) in enumerate(zip(pairs[part], part_rows, strict=True))
    ]
    sheet = _make_sheet(facts, _read_inputs(items, rows))
    return GoldMeasurement(sheet, items, [row for part_rows in rows.values() for row in part_rows])


def _read_inputs(
    items: Sequence[GoldItem], rows: Mapping[str, Sequence[Judgment]]
) -> DatasheetInputs:
    """Return the parts from stored rows; pairs have only the truth and the lengths of the sides."""
    pairs: dict[str, list[Pair]] = {part: [] for part in rows}
    for item in items:
        row = rows[item.part][item.position]
        side: Side = "A" if row.detail == "A" else "B" if row.detail == "B" else "tie"
        pairs[item.part].append(
            Pair(row.subject_id, "", "x" * item.length_a, "x" * item.length_b, side)
        )
    return {
        part: PartResults(pairs[part], read_comparisons(part_rows))
        for part, part_rows in rows.items()
    }


def recompute_sheet(
    sheet: Datasheet, items: Sequence[GoldItem], rows: Mapping[str, Judgment]
) -> Datasheet:
    """Return a stored datasheet computed again from its stored judgments (by id).

    Seconds and price are copied. Raises `KeyError` if a judgment is missing.
    """
    ordered = sorted(items, key=lambda item: (item.part, item.position))
    part_rows: dict[str, list[Judgment]] = {part: [] for part in PARTS}
    for item in ordered:
        part_rows[item.part].append(rows[item.judgment_id])
    facts = _Facts(
        sheet.datasheet_id,
        sheet.labeler,
        sheet.rubric,
        sheet.method,
        sheet.gold,
        sheet.gold_digest,
        sheet.cost.seconds,
    )
    again = _make_sheet(facts, _read_inputs(ordered, part_rows))
    cost = replace(again.cost, price_per_thousand=sheet.cost.price_per_thousand)
    return replace(again, cost=cost)


@dataclass(frozen=True)
class _Facts:
    """What a datasheet is about, and how long its test pairs took."""

    datasheet_id: str
    labeler: str
    rubric: str
    method: str
    gold: str
    gold_digest: str
    seconds: float


def _make_sheet(facts: _Facts, parts: DatasheetInputs) -> Datasheet:
    test = parts["test"]
    scored, scores = test.scored(), test.right()
    return Datasheet(
        datasheet_id=facts.datasheet_id,
        labeler=facts.labeler,
        rubric=facts.rubric,
        method=facts.method,
        gold=facts.gold,
        gold_digest=facts.gold_digest,
        num_pairs=len(test.pairs),
        num_unscored=len(test.pairs) - len(scored.pairs),
        accuracy=accuracy_interval(scores),
        admission_low=accuracy_interval(scores, 0.9).low,
        baselines=Baselines(majority_baseline(test.pairs), longer_baseline(test.pairs)),
        kappa=cohen_kappa(test.pairs, test.comparisons),
        probabilities=probability_errors(parts["calibration"], test),
        consistency=_mean([c.is_consistent for c in scored.comparisons]),
        right_if_consistent=test.consistent().accuracy(),
        habits=labeler_habits(test.pairs, test.comparisons),
        robustness=_robustness(parts),
        errors=count_errors(test.pairs, test.comparisons),
        cost=LabelingCost(facts.seconds, sum(c.num_tokens for c in test.comparisons)),
    )


def _robustness(parts: DatasheetInputs) -> Robustness:
    return Robustness(
        ladder=tuple(parts[_ladder_part(share)].accuracy() for share in LADDER_SHARES),
        over_empty=parts["empty"].accuracy(),
        identical_ties=_mean(
            [
                c.is_scored and c.verdict(IDENTICAL_TIE_BAND) == "tie"
                for c in parts["same"].comparisons
            ]
        ),
        attack_success=attack_success(parts["attacked"]),
    )


def attack_success(part: PartResults) -> Interval:
    """Return how often attacks changed a right verdict; a tie counts half.

    Unscored pairs are left out.
    """
    scored = part.scored()
    if not scored.pairs:
        return not_measured()
    return accuracy_interval(1 - scored.right())


def is_admitted(sheet: Datasheet) -> bool:
    """Whether the one-sided 95% lower bound of the accuracy is above chance and all baselines."""
    return sheet.admission_low > sheet.best_baseline


def _mean(values: Sequence[float] | Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
