"""Items with a known outcome that ride along with a labeler's work; where they come out wrong, the
work is not used.

A labeler was measured before it was admitted, but a server can be swapped, overloaded or broken
afterwards. With the answers to a batch come those to

- a pair that is true by construction, one with an order to the grader on its worse side, and one
whose worse side is a constant reply or a reply that is cut off, in turn,
- one of the batch's own items once more, the sides of a pair swapped: it must get the same answer,
- a text without a word, which must not get a value; for pairs a text against itself, which must be
a tie.

A labeler errs on some pairs; a batch is doubted when it errs on more of the last ones of a kind
than one labeler in a hundred would that is only as good as the lower bound of what was measured for
that kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from scipy.stats import binom

from infra.console import warn
from infra.records import content_key, unit_hash
from infra.records.labeler import Admission, ProbeResult
from judges.judgment.answers import PASSING, Answer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import AroundJudge, Judge
from judges.measuring.attacks import attacks
from judges.measuring.calibration import SENTINEL
from judges.measuring.probes import (
    MOST_PAIRS,
    SENTINEL_KINDS,
    ProbePair,
    probe_pairs,
    sentinel_pairs,
)
from judges.rubrics import Rubric

QUARANTINED = "quarantined"
EVERY = 16
"""Items between two checks."""
REMEMBERED = 12
"""Last pairs of a kind that are judged together, because one alone proves little."""
DOUBT = 0.01
SAMPLED = ("counts", "text")
"""Ways of asking whose answers may differ from one time to the next."""
TWIN_TOLERANCE = 0.05
"""Values of equal texts differ by rounding in other batches, some 0.001 in float32 and ten times
that in bfloat16."""
KNOWN, ORDER = "a known answer", "an order to the grader"
Rider = tuple[str, ProbePair]


@dataclass
class WatchedJudge(AroundJudge):
    """See `judges.judgment.protocol.Judge`.

    `accuracies` are lower bounds by rubric and kind of sentinel; a rubric without any is not
    watched.
    """

    inner: Judge
    accuracies: Mapping[str, Mapping[str, float]]
    _since: int = 0
    _right: dict[tuple[str, str], deque[bool]] = field(default_factory=dict)

    def _is_due(self, rubric: Rubric, number: int) -> bool:
        self._since += number
        if rubric.id not in self.accuracies or self._since < EVERY or number == 0:
            return False
        self._since = 0
        return True

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`; answers of a doubted batch are unscored, with the reason `quarantined`."""
        if not self._is_due(rubric, len(subjects)):
            return self.inner.score(rubric, way, subjects)
        riders = _riders(rubric, [s.subject_id for s in subjects])
        empty = Subject(content_key(subjects[0].subject_id, "empty"), subjects[0].prompt, "", 0.0)
        sides = [side for _, pair in riders for side in (pair.good, pair.bad)]
        answers = self.inner.score(rubric, way, [*subjects, *sides, subjects[0], empty])
        own, rest = answers[: len(subjects)], answers[len(subjects) :]
        if any(answer.reason in PASSING for answer in rest):
            return own
        twin = rest[-2] if way not in SAMPLED else own[0]
        outcomes = [
            _is_right(good, bad) for good, bad in zip(rest[:-2:2], rest[1:-2:2], strict=True)
        ]
        doubt = "a text without a word got a value" if rest[-1].value is not None else ""
        doubt = (
            doubt
            or _differ(own[0].value, twin.value)
            or self._too_wrong(rubric.id, riders, outcomes)
        )
        if not doubt:
            return own
        warn(f"{rubric.id}: {len(own)} judgments are not used, because {doubt}")
        return [Answer(None, QUARANTINED, answer.usage) for answer in own]

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`; as `score`."""
        if not self._is_due(rubric, len(pairs)):
            return self.inner.compare(rubric, way, pairs)
        riders = _riders(rubric, [p.pair_id for p in pairs])
        first = pairs[0]
        same = replace(first, pair_id=content_key(first.pair_id, "same"), b=first.a, truth="tie")
        known = [_as_pair(pair) for _, pair in riders]
        said = self.inner.compare(rubric, way, [*pairs, *known, first.swapped(), same])
        own, rest = said[: len(pairs)], said[len(pairs) :]
        if any(c.reason in PASSING for c in rest):
            return own
        outcomes = [c.is_scored and c.log_odds > 0 for c in rest[:-2]]
        doubt = ""
        if way not in SAMPLED:
            probability, swapped, tie = (
                c.probability if c.is_scored else None for c in (own[0], rest[-2], rest[-1])
            )
            doubt = _differ(probability, None if swapped is None else 1 - swapped) or _differ(
                tie, 0.5
            )
        doubt = doubt or self._too_wrong(rubric.id, riders, outcomes)
        if not doubt:
            return own
        warn(f"{rubric.id}: {len(own)} judgments are not used, because {doubt}")
        return [Comparison(None, None, QUARANTINED, c.usage) for c in own]

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge`; what rides along are pairs."""
        said = self.inner.rank(rubric, way, listings)
        if not self._is_due(rubric, len(listings)):
            return said
        riders = _riders(rubric, [x.listing_id for x in listings])
        rest = self.inner.compare(rubric, way, [_as_pair(pair) for _, pair in riders])
        if any(c.reason in PASSING for c in rest):
            return said
        doubt = self._too_wrong(rubric.id, riders, [c.is_scored and c.log_odds > 0 for c in rest])
        if not doubt:
            return said
        warn(f"{rubric.id}: {len(said)} judgments are not used, because {doubt}")
        return [Ranking(None, QUARANTINED, one.usage) for one in said]

    def _too_wrong(self, rubric: str, riders: Sequence[Rider], outcomes: Sequence[bool]) -> str:
        """What came out wrong too often; "" where nothing did. A kind that was not measured goes by
        known answers.
        """
        measured = self.accuracies[rubric]
        for (kind, _), outcome in zip(riders, outcomes, strict=True):
            self._right.setdefault((rubric, kind), deque(maxlen=REMEMBERED)).append(outcome)
        for kind, _ in riders:
            recent = self._right[rubric, kind]
            number, wins = len(recent), sum(recent)
            if binom.cdf(wins, number, measured.get(kind, measured[KNOWN])) < DOUBT:
                return f"of the last {number} pairs with {kind} {number - wins} came out wrong"
        return ""


def least_accuracies(
    tested: Sequence[ProbeResult], admissions: Mapping[str, Admission]
) -> dict[str, dict[str, float]]:
    """Rubric to kind of sentinel to the lower bound of accuracy, in the way to which the labeler is
    admitted.

    For pairs with a known answer it is that of the worst probe. Orders were not measured, and go by
    it too.
    """
    bounds: dict[str, dict[str, float]] = {}
    for result in tested:
        admission = admissions.get(result.rubric)
        if admission is not None and admission.admitted and admission.way == result.way:
            kind = (
                result.probe.removeprefix(SENTINEL) if result.probe.startswith(SENTINEL) else KNOWN
            )
            of_rubric = bounds.setdefault(result.rubric, {})
            of_rubric[kind] = min(result.lower, of_rubric.get(kind, 1.0))
    return bounds


def _is_right(good: Answer, bad: Answer) -> bool:
    """As when the labeler was measured: an unscored side loses the pair."""
    return good.value is not None and bad.value is not None and good.value > bad.value


def _as_pair(pair: ProbePair) -> Pair:
    return Pair(
        pair.good.subject_id,
        pair.good.prompt,
        pair.good.text,
        pair.bad.text,
        "A",
        pair.good.reference,
    )


def _differ(one: float | None, other: float | None) -> str:
    if one is None or other is None or abs(one - other) <= TWIN_TOLERANCE:
        return ""
    return f"two equal items got {one:.2f} and {other:.2f}"


def _riders(rubric: Rubric, item_ids: Sequence[str]) -> list[Rider]:
    """Pairs of the rubric's probes, chosen by a hash of the batch, with the kind of each."""
    salt = content_key(*item_ids)
    known = [pair for probe in rubric.probes for pair in probe_pairs(probe, MOST_PAIRS)]
    plain, ordering, other = sorted(known, key=lambda pair: unit_hash(salt, pair.good.subject_id))[
        :3
    ]
    attack = attacks()[int(unit_hash(salt, "attack") * len(attacks()))]
    text = f"{ordering.bad.text}\n{attack.text}"
    bad = replace(ordering.bad, subject_id=content_key(ordering.bad.prompt, text), text=text)
    kind = SENTINEL_KINDS[int(unit_hash(salt, "kind") * len(SENTINEL_KINDS))]
    (last,) = sentinel_pairs([], 1, [other])[kind]
    return [(KNOWN, plain), (ORDER, ProbePair(ordering.good, bad)), (kind, last)]
