"""Items with a known outcome that ride along with a labeler's work; where they come out wrong, the work is not used.

A labeler was measured before it was admitted, but a server can be swapped, overloaded or broken afterwards. With
the answers to a batch come those to

- pairs that are true by construction, one of them with an order to the grader on its worse side,
- one of the batch's own subjects once more, which must get the same value (unless answers are sampled),
- an empty text, which must not get any.

A labeler errs on some pairs; a batch is doubted when it errs on more of the last ones than one labeler in a hundred
would that is only as good as the lower bound of what was measured. Pairs with an order are counted apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from scipy.stats import binom

from infra.console import warn
from infra.records import content_key, unit_hash
from judges.answers import Answer
from judges.attacks import attacks
from judges.probes import ProbePair, probe_pairs
from judges.protocol import AroundJudge, Judge
from judges.rubrics import Rubric
from judges.ways import Subject

QUARANTINED = "quarantined"
EVERY = 16
"""Subjects between two checks."""
PAIRS = 3
REMEMBERED = 12
"""Last pairs of a rubric that are judged together, because two alone prove little."""
DOUBT = 0.01
SAMPLED = ("counts", "text")
"""Ways of asking whose answers may differ from one time to the next."""
TWIN_TOLERANCE = 0.05
"""Values of equal texts differ by rounding in other batches, some 0.001 in float32 and ten times that in bfloat16."""


@dataclass
class WatchedJudge(AroundJudge):
    """See `judges.protocol.Judge`. `accuracies` are lower bounds by rubric; other rubrics are not watched."""

    inner: Judge
    accuracies: Mapping[str, float]
    _since: int = 0
    _right: dict[tuple[str, str], deque[bool]] = field(default_factory=dict)

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`; answers of a doubted batch are unscored, with the reason `quarantined`."""
        self._since += len(subjects)
        if rubric.id not in self.accuracies or self._since < EVERY or not subjects:
            return self.inner.score(rubric, way, subjects)
        self._since = 0
        pairs = _sentinel_pairs(rubric, subjects)
        empty = Subject(content_key(subjects[0].subject_id, "empty"), subjects[0].prompt, "", 0.0)
        riders = [side for pair in pairs for side in (pair.good, pair.bad)]
        answers = self.inner.score(rubric, way, [*subjects, *riders, subjects[0], empty])
        own, rest = answers[: len(subjects)], answers[len(subjects) :]
        own_twin = rest[-2] if way not in SAMPLED else own[0]
        doubt = self._doubt(rubric.id, rest[:-2], own[0], own_twin, rest[-1])
        if not doubt:
            return own
        warn(f"{rubric.id}: {len(own)} judgments are not used, because {doubt}")
        return [Answer(None, QUARANTINED, answer.usage) for answer in own]

    def _doubt(self, rubric: str, pairs: Sequence[Answer], own: Answer, twin: Answer, empty: Answer) -> str:
        """Why a batch is doubted; "" where it is not."""
        if empty.value is not None:
            return "a text without a word got a value"
        if None not in (own.value, twin.value) and abs((own.value or 0) - (twin.value or 0)) > TWIN_TOLERANCE:
            return f"two equal texts got {own.value:.2f} and {twin.value:.2f}"
        outcomes = [_is_right(good, bad) for good, bad in zip(pairs[::2], pairs[1::2], strict=True)]
        for kind, news in (("a known answer", outcomes[:-1]), ("an order to the grader", outcomes[-1:])):
            recent = self._right.setdefault((rubric, kind), deque(maxlen=REMEMBERED))
            recent.extend(news)
            number, wins = len(recent), sum(recent)
            if binom.cdf(wins, number, self.accuracies[rubric]) < DOUBT:
                return f"of the last {number} pairs with {kind} {number - wins} came out wrong"
        return ""


def _is_right(good: Answer, bad: Answer) -> bool:
    """As when the labeler was measured: an unscored side loses the pair."""
    return good.value is not None and bad.value is not None and good.value > bad.value


def _sentinel_pairs(rubric: Rubric, subjects: Sequence[Subject]) -> list[ProbePair]:
    """Pairs of the rubric's probes, chosen by a hash of the batch; the last one's worse side gives an order."""
    salt = content_key(*(s.subject_id for s in subjects))
    known = [pair for probe in rubric.probes for pair in probe_pairs(probe, 24)]
    *plain, last = sorted(known, key=lambda pair: unit_hash(salt, pair.good.subject_id))[:PAIRS]
    attack = attacks()[int(unit_hash(salt, "attack") * len(attacks()))]
    text = f"{last.bad.text}\n{attack.text}"
    bad = replace(last.bad, subject_id=content_key(last.bad.prompt, text), text=text)
    return [*plain, ProbePair(last.good, bad)]
