"""Sentinel items: items with a known result that detect failures of a labeler while it works.

A labeler is measured before it is admitted, but a server can be swapped, overloaded or broken
later. Every `ITEMS_PER_CHECK` items, these sentinels are added to a batch:

- a pair that is true by construction, a pair with an instruction to the grader on its worse side,
  and a pair whose worse side is (in turn) a constant reply or a truncated reply;
- one of the batch's own items again, for pairs with its sides swapped: the result must be the same;
- an empty text, which must not get a value; for pairs a text against itself, which must be a tie.

Labelers are wrong on some pairs. A batch is discarded if the labeler is wrong on so many of the
recent sentinel pairs of a kind that this has a probability below 1% for a labeler whose accuracy is
the lower bound measured for that kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from scipy.stats import binom
from typing_extensions import override

from infra.console import warn
from infra.records import content_key, unit_hash
from infra.records.labeler import Admission, ProbeResult
from judges.judgment.answers import RETRYABLE_REASONS, LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge, JudgeWrapper
from judges.measuring.admission import SENTINEL
from judges.measuring.attacks import attacks
from judges.measuring.probes.making import (
    KNOWN_ANSWER,
    SENTINEL_KINDS,
    ProbePair,
    built_in_material,
    make_sentinel_pairs,
    probe_set,
)
from judges.rubrics import Rubric

QUARANTINED = "quarantined"
ITEMS_PER_CHECK = 16
"""Items between two checks."""
SENTINELS_PER_CHECK = 8
"""Subjects that a check of values adds to a batch."""
NUM_SEEDS = 4
"""Pairs are made once for each seed, which takes about a second."""
RECENT_PAIRS = 12
"""Recent pairs of a kind that are tested together, because one pair proves little."""
DOUBT_PROBABILITY = 0.01
SAMPLING_METHODS = ("counts", "text")
"""Methods whose answers can differ between two requests for the same item."""
TWIN_TOLERANCE = 0.05
"""Allowed difference between two values of the same item. Rounding differs between batches by about
0.001 in float32 and 0.01 in bfloat16."""
GRADER_ORDER = "an order to the grader"


@dataclass(frozen=True)
class SentinelPair:
    """A pair with a known better side, and its kind."""

    kind: str
    pair: ProbePair

    def as_pair(self) -> Pair:
        """Return it as a pair whose better side is A."""
        good, bad = self.pair.good, self.pair.bad
        return Pair(good.subject_id, good.prompt, good.text, bad.text, "A", good.reference)


@dataclass
class WatchedJudge(JudgeWrapper):
    """A labeler that is checked with sentinel items while it works.

    The results of a batch whose check fails are replaced by unscored ones with the reason
    `quarantined`. `accuracies` maps a rubric and a kind of sentinel to the lower bound of the
    labeler's accuracy; rubrics that are missing there are not checked.
    """

    inner: Judge
    accuracies: Mapping[str, Mapping[str, float]]
    _items_since_check: int = 0
    _outcomes: dict[tuple[str, str], deque[bool]] = field(default_factory=dict)

    def _is_due(self, rubric: Rubric, num_items: int) -> bool:
        self._items_since_check += num_items
        if rubric.id not in self.accuracies or num_items == 0:
            return False
        if self._items_since_check < ITEMS_PER_CHECK:
            return False
        self._items_since_check = 0
        return True

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        if not self._is_due(rubric, len(subjects)):
            return self.inner.score(rubric, method, subjects)
        sentinels = _choose_sentinels(rubric, [s.subject_id for s in subjects])
        sides = [side for s in sentinels for side in (s.pair.good, s.pair.bad)]
        twin = subjects[0]
        empty = Subject(content_key(twin.subject_id, "empty"), twin.prompt, "", 0.0)
        answers = self.inner.score(rubric, method, [*subjects, *sides, twin, empty])
        own, added = answers[: len(subjects)], answers[len(subjects) :]
        if any(answer.reason in RETRYABLE_REASONS for answer in added):
            return own
        *side_answers, twin_answer, empty_answer = added
        doubt = "" if empty_answer.value is None else "a text without a word got a value"
        if method not in SAMPLING_METHODS:
            doubt = doubt or _difference(own[0].value, twin_answer.value)
        doubt = doubt or self._too_many_errors(
            rubric.id,
            sentinels,
            [
                _is_right(good, bad)
                for good, bad in zip(side_answers[::2], side_answers[1::2], strict=True)
            ],
        )
        if not doubt:
            return own
        _warn_discarded(rubric, len(own), doubt)
        return [LabelerAnswer(None, QUARANTINED, answer.usage) for answer in own]

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        if not self._is_due(rubric, len(pairs)):
            return self.inner.compare(rubric, method, pairs)
        sentinels = _choose_sentinels(rubric, [p.pair_id for p in pairs])
        known = [sentinel.as_pair() for sentinel in sentinels]
        twin = pairs[0]
        same = replace(twin, pair_id=content_key(twin.pair_id, "same"), b=twin.a, truth="tie")
        results = self.inner.compare(rubric, method, [*pairs, *known, twin.swapped(), same])
        own, added = results[: len(pairs)], results[len(pairs) :]
        if any(c.reason in RETRYABLE_REASONS for c in added):
            return own
        *known_results, swapped_result, same_result = added
        doubt = ""
        if method not in SAMPLING_METHODS:
            swapped = _probability(swapped_result)
            expected = None if swapped is None else 1 - swapped
            doubt = _difference(_probability(own[0]), expected)
            doubt = doubt or _difference(_probability(same_result), 0.5)
        doubt = doubt or self._too_many_errors(
            rubric.id, sentinels, [_prefers_a(c) for c in known_results]
        )
        if not doubt:
            return own
        _warn_discarded(rubric, len(own), doubt)
        return [Comparison(None, None, QUARANTINED, c.usage) for c in own]

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        # The sentinels of a batch of lists are pairs.
        rankings = self.inner.rank(rubric, method, candidate_lists)
        if not self._is_due(rubric, len(candidate_lists)):
            return rankings
        sentinels = _choose_sentinels(rubric, [x.list_id for x in candidate_lists])
        results = self.inner.compare(rubric, method, [s.as_pair() for s in sentinels])
        if any(c.reason in RETRYABLE_REASONS for c in results):
            return rankings
        doubt = self._too_many_errors(rubric.id, sentinels, [_prefers_a(c) for c in results])
        if not doubt:
            return rankings
        _warn_discarded(rubric, len(rankings), doubt)
        return [Ranking(None, QUARANTINED, ranking.usage) for ranking in rankings]

    def _too_many_errors(
        self, rubric: str, sentinels: Sequence[SentinelPair], outcomes: Sequence[bool]
    ) -> str:
        """Record the outcomes; return a message for a kind with too many errors, else "".

        A kind whose accuracy was not measured is tested against that of known answers.
        """
        bounds = self.accuracies[rubric]
        for sentinel, outcome in zip(sentinels, outcomes, strict=True):
            key = rubric, sentinel.kind
            self._outcomes.setdefault(key, deque(maxlen=RECENT_PAIRS)).append(outcome)
        for kind in (sentinel.kind for sentinel in sentinels):
            recent = self._outcomes[rubric, kind]
            number, num_right = len(recent), sum(recent)
            bound = bounds.get(kind, bounds[KNOWN_ANSWER])
            if binom.cdf(num_right, number, bound) < DOUBT_PROBABILITY:
                return f"of the last {number} pairs with {kind} {number - num_right} came out wrong"
        return ""


def accuracy_lower_bounds(
    tested: Sequence[ProbeResult], admissions: Mapping[str, Admission]
) -> dict[str, dict[str, float]]:
    """Return rubric -> kind of sentinel -> lower bound of accuracy, for the admitted method.

    Orders to the grader are not measured.
    """
    bounds: dict[str, dict[str, float]] = {}
    for result in tested:
        admission = admissions.get(result.rubric)
        is_used = admission is not None and (admission.admitted, admission.method) == (
            True,
            result.method,
        )
        if is_used and result.probe.startswith(SENTINEL):
            kind = result.probe.removeprefix(SENTINEL)
            bounds.setdefault(result.rubric, {})[kind] = result.lower
    return bounds


def _warn_discarded(rubric: Rubric, count: int, doubt: str) -> None:
    warn(f"{rubric.id}: {count} judgments are not used, because {doubt}")


def _is_right(good: LabelerAnswer, bad: LabelerAnswer) -> bool:
    """Whether the good side has the higher value; an unscored side makes the pair wrong."""
    return good.value is not None and bad.value is not None and good.value > bad.value


def _prefers_a(comparison: Comparison) -> bool:
    return comparison.is_scored and comparison.log_odds > 0


def _probability(comparison: Comparison) -> float | None:
    return comparison.probability if comparison.is_scored else None


def _difference(one: float | None, other: float | None) -> str:
    """Return a message if two values that must be equal differ, else ""."""
    if one is None or other is None or abs(one - other) <= TWIN_TOLERANCE:
        return ""
    return f"two equal items got {one:.2f} and {other:.2f}"


def _choose_sentinels(rubric: Rubric, item_ids: Sequence[str]) -> list[SentinelPair]:
    """Return one pair of each kind from the rubric's probes, chosen by a hash of the batch."""
    salt = content_key(*item_ids)
    material = built_in_material(f"sentinels {int(unit_hash(salt, 'seed') * NUM_SEEDS)}")
    sets = [probe_set(probe, material) for probe in rubric.probes]
    known = [pair for one in sets for pair in one.deciding]
    known.sort(key=lambda pair: unit_hash(salt, pair.good.subject_id))
    plain, ordering, other = known[:3]
    kind = SENTINEL_KINDS[int(unit_hash(salt, "kind") * len(SENTINEL_KINDS))]
    (last,) = make_sentinel_pairs([other])[kind]
    return [
        SentinelPair(KNOWN_ANSWER, plain),
        SentinelPair(GRADER_ORDER, _with_order(ordering, salt)),
        SentinelPair(kind, last),
    ]


def _with_order(pair: ProbePair, salt: str) -> ProbePair:
    """Return the pair with an instruction to the grader appended to its worse side."""
    orders = [attack for attack in attacks() if attack.is_order]
    attack = orders[int(unit_hash(salt, "attack") * len(orders))]
    text = f"{pair.bad.text}\n{attack.text}"
    bad = replace(pair.bad, subject_id=content_key(pair.bad.prompt, text), text=text)
    return ProbePair(pair.good, bad)
