"""Batches of items to judge, and the stored judgments made from a labeler's results.

This is the same for every mode, labeler and rubric.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy.stats import entropy

from infra.errors import UserError
from infra.records import Judgment, content_key
from judges.judgment.answers import UNSCORED_REASONS, LabelerAnswer, TokenUsage, logit
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import LETTERS, CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.rubrics import Rubric

Mode = Literal["pointwise", "pairwise", "listwise"]


@dataclass(frozen=True)
class Batch:
    """Items to judge by one rubric and method: `subjects`, `pairs` or `candidate_lists`, depending
    on the mode.
    """

    rubric: Rubric
    mode: Mode
    method: str
    subjects: Sequence[Subject] = ()
    pairs: Sequence[Pair] = ()
    candidate_lists: Sequence[CandidateList] = ()
    seed: int = 0
    generation: int = 0
    key: str = "rubric"
    """The option or the key of the recipe that names the rubric, for errors."""

    def __post_init__(self) -> None:
        """Raises `UserError` if the rubric needs a reference and an item has none."""
        references = [
            x.reference
            for items in (self.subjects, self.pairs, self.candidate_lists)
            for x in items
        ]
        if self.rubric.needs_reference and not all(references):
            raise UserError(
                self.key,
                self.rubric.id,
                "the rubric needs a reference answer, and some items have none.",
                "Add a reference to every item, or use another rubric.",
            )

    @property
    def num_items(self) -> int:
        """Number of items."""
        return len(self.subjects) + len(self.pairs) + len(self.candidate_lists)

    def without(self, done: Collection[str]) -> Batch:
        """Return the batch without the items with these ids."""
        return replace(
            self,
            subjects=[s for s in self.subjects if s.subject_id not in done],
            pairs=[p for p in self.pairs if p.pair_id not in done],
            candidate_lists=[x for x in self.candidate_lists if x.list_id not in done],
        )

    def chunks(self, size: int) -> Iterator[Batch]:
        """Split the batch into batches of at most `size` items."""
        for start in range(0, self.num_items, size):
            part = slice(start, start + size)
            yield replace(
                self,
                subjects=self.subjects[part],
                pairs=self.pairs[part],
                candidate_lists=self.candidate_lists[part],
            )


@dataclass(frozen=True)
class _JudgedItem:
    """One item of a batch as it is stored: its id, its texts, and its known truth or ""."""

    item_id: str
    texts: tuple[str, ...]
    truth: str


@dataclass(frozen=True)
class _Score:
    """The fields of a judgment that only a scored item has."""

    value: float
    verdict: str
    labels: tuple[str, ...]
    distribution: tuple[float, ...]
    gap: float = 0.0


def _judgment_id(labeler: str, batch: Batch, item_id: str) -> str:
    return content_key(labeler, batch.rubric.digest, batch.mode, batch.method, item_id, batch.seed)


def judgment_ids(labeler: str, batch: Batch) -> list[str]:
    """Return the ids of the judgments that this labeler makes for a batch, in order."""
    items = [s.subject_id for s in batch.subjects] + [p.pair_id for p in batch.pairs]
    items += [x.list_id for x in batch.candidate_lists]
    return [_judgment_id(labeler, batch, item) for item in items]


def _row(
    labeler: str,
    batch: Batch,
    item: _JudgedItem,
    result: LabelerAnswer | Comparison | Ranking,
    score: _Score | None,
) -> Judgment:
    """Return the judgment on one item; without a score it is unscored."""
    assert (score is None) == bool(result.reason), (
        f"{item.item_id}: a judgment has either a score or a reason"
    )
    assert not result.reason or result.reason in UNSCORED_REASONS, (
        f"unknown reason {result.reason!r}"
    )
    return Judgment(
        judgment_id=_judgment_id(labeler, batch, item.item_id),
        subject_id=item.item_id,
        labeler=labeler,
        rubric=batch.rubric.id,
        method=batch.method,
        status="scored" if score else "unscored",
        reason=result.reason,
        value=score.value if score else 0.0,
        detail=item.truth,
        num_tokens=result.usage.num_tokens,
        generation=batch.generation,
        mode=batch.mode,
        verdict=score.verdict if score else "",
        labels=score.labels if score else (),
        distribution=score.distribution if score else (),
        entropy=float(entropy(score.distribution)) if score else 0.0,
        gap=score.gap if score else 0.0,
        completion_tokens=result.usage.completion_tokens,
        subject_hashes=tuple(content_key(text) for text in item.texts),
        rubric_digest=batch.rubric.digest,
        template_digest=batch.rubric.template_digest(batch.mode, batch.method),
        seed=batch.seed,
        raw=result.raw,
    )


def pointwise_rows(labeler: str, batch: Batch, answers: Sequence[LabelerAnswer]) -> list[Judgment]:
    """Return the judgments for values of texts.

    The labels are those of the rubric's only criterion, or Yes and No if there are several
    criteria.
    """
    rows = []
    for subject, answer in zip(batch.subjects, answers, strict=True):
        texts = (subject.prompt, subject.text, subject.reference)
        truth = "" if subject.truth is None else f"{subject.truth:g}"
        item = _JudgedItem(subject.subject_id, texts, truth)
        rows.append(_row(labeler, batch, item, answer, _value_score(batch.rubric, answer)))
    return rows


def _value_score(rubric: Rubric, answer: LabelerAnswer) -> _Score | None:
    if answer.value is None:
        return None
    shares = answer.distribution or (answer.value, 1 - answer.value)
    labels: tuple[str, ...] = ("Yes", "No")
    if len(rubric.criteria) == 1 and len(rubric.criteria[0].labels) == len(shares):
        labels = tuple(rubric.criteria[0].labels)
    return _Score(answer.value, labels[shares.index(max(shares))], labels, shares)


def pairwise_rows(labeler: str, batch: Batch, comparisons: Sequence[Comparison]) -> list[Judgment]:
    """Return the judgments for comparisons. The verdict is A, B or tie, the value is P(A) + P(tie)
    / 2, and the gap is in nats.
    """
    rows = []
    for pair, comparison in zip(batch.pairs, comparisons, strict=True):
        item = _JudgedItem(
            pair.pair_id, (pair.prompt, pair.a, pair.b, pair.reference), pair.truth or ""
        )
        rows.append(_row(labeler, batch, item, comparison, _verdict_score(comparison)))
    return rows


def _verdict_score(comparison: Comparison) -> _Score | None:
    if not comparison.is_scored:
        return None
    first, second, tie = comparison.distribution
    return _Score(
        first + tie / 2,
        comparison.verdict(),
        ("A", "B", "tie"),
        (first, second, tie),
        comparison.gap,
    )


def read_comparisons(rows: Sequence[Judgment]) -> list[Comparison]:
    """Return the comparisons that pairwise judgments were made from. Log-odds beyond +-27.6 nats
    were clipped.
    """
    return [_read_comparison(row) for row in rows]


def _read_comparison(row: Judgment) -> Comparison:
    usage = TokenUsage(row.num_tokens - row.completion_tokens, row.completion_tokens)
    if row.status == "unscored":
        return Comparison(None, None, row.reason, usage, raw=row.raw)
    first, second, tie = row.distribution
    odds = logit(first / (first + second)) if first + second > 0 else 0.0
    return Comparison(odds + row.gap / 2, odds - row.gap / 2, "", usage, tie, row.raw)


def listwise_rows(labeler: str, batch: Batch, rankings: Sequence[Ranking]) -> list[Judgment]:
    """Return the judgments for rankings. The verdict is the letter of the best text, the value its
    probability, and the gap the spread between the orders in nats.
    """
    rows = []
    for candidates, ranking in zip(batch.candidate_lists, rankings, strict=True):
        texts = (candidates.prompt, *candidates.texts, candidates.reference)
        truth = "" if candidates.truth is None else LETTERS[candidates.truth]
        item = _JudgedItem(candidates.list_id, texts, truth)
        rows.append(_row(labeler, batch, item, ranking, _ranking_score(ranking)))
    return rows


def _ranking_score(ranking: Ranking) -> _Score | None:
    if ranking.log_shares is None:
        return None
    shares = ranking.distribution
    letters = tuple(LETTERS[: len(shares)])
    return _Score(max(shares), letters[ranking.best], letters, shares, ranking.spread)
