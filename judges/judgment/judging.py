"""From what a labeler says to the row that is stored: the same for every mode, backend and rubric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy.stats import entropy

from infra.errors import UserError
from infra.records import Judgment, content_key
from judges.judgment.answers import REASONS, Answer, Usage, logit
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import LETTERS, Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.rubrics import Rubric

Mode = Literal["pointwise", "pairwise", "listwise"]


@dataclass(frozen=True)
class Batch:
    """Items to be judged alike: `subjects`, `pairs` or `listings`, as the mode wants."""

    rubric: Rubric
    mode: Mode
    way: str
    subjects: Sequence[Subject] = ()
    pairs: Sequence[Pair] = ()
    listings: Sequence[Listing] = ()
    seed: int = 0
    generation: int = 0

    def __post_init__(self) -> None:
        """Raises `UserError` where the rubric compares with a reference and an item has none."""
        references = [
            x.reference for items in (self.subjects, self.pairs, self.listings) for x in items
        ]
        if self.rubric.needs_reference and not all(references):
            raise UserError(
                "judge.rubric",
                self.rubric.id,
                "it needs a reference, and some items have none.",
                "Give every item one, or take another rubric.",
            )

    @property
    def num_items(self) -> int:
        """How many are to be judged."""
        return len(self.subjects) + len(self.pairs) + len(self.listings)

    def without(self, done: Collection[str]) -> Batch:
        """The same batch without the items of these ids."""
        return replace(
            self,
            subjects=[s for s in self.subjects if s.subject_id not in done],
            pairs=[p for p in self.pairs if p.pair_id not in done],
            listings=[x for x in self.listings if x.listing_id not in done],
        )

    def parts(self, size: int) -> Iterator[Batch]:
        """The same batch in parts of at most `size` items."""
        for start in range(0, self.num_items, size):
            part = slice(start, start + size)
            yield replace(
                self,
                subjects=self.subjects[part],
                pairs=self.pairs[part],
                listings=self.listings[part],
            )


@dataclass(frozen=True)
class _Said:
    """The part of a row that depends on the answer."""

    value: float
    verdict: str
    labels: tuple[str, ...]
    distribution: tuple[float, ...]
    gap: float = 0.0


def _judgment_id(labeler: str, batch: Batch, item_id: str) -> str:
    return content_key(labeler, batch.rubric.digest, batch.mode, batch.way, item_id, batch.seed)


def judgment_ids(labeler: str, batch: Batch) -> list[str]:
    """The ids of the rows that a labeler's answers to a batch are stored under, in order."""
    items = [s.subject_id for s in batch.subjects] + [p.pair_id for p in batch.pairs]
    items += [x.listing_id for x in batch.listings]
    return [_judgment_id(labeler, batch, item) for item in items]


def _row(
    labeler: str,
    batch: Batch,
    item_id: str,
    texts: Sequence[str],
    said: _Said | None,
    reason: str,
    usage: Usage,
    raw: str,
    truth: str,
) -> Judgment:
    """A row; without `said` it is unscored."""
    assert (said is None) == bool(reason), (
        f"{item_id}: a judgment has a value or a reason, and not both"
    )
    assert not reason or reason in REASONS, f"unknown reason {reason!r}"
    digest = batch.rubric.digest
    return Judgment(
        judgment_id=_judgment_id(labeler, batch, item_id),
        subject_id=item_id,
        labeler=labeler,
        rubric=batch.rubric.id,
        way=batch.way,
        status="scored" if said else "unscored",
        reason=reason,
        value=said.value if said else 0.0,
        detail=truth,
        num_tokens=usage.num_tokens,
        generation=batch.generation,
        mode=batch.mode,
        verdict=said.verdict if said else "",
        labels=said.labels if said else (),
        distribution=said.distribution if said else (),
        entropy=float(entropy(said.distribution)) if said else 0.0,
        gap=said.gap if said else 0.0,
        completion_tokens=usage.completion_tokens,
        subject_hashes=tuple(content_key(text) for text in texts),
        rubric_digest=digest,
        template_digest=batch.rubric.template_digest(batch.mode, batch.way),
        seed=batch.seed,
        raw=raw,
    )


def pointwise_rows(labeler: str, batch: Batch, answers: Sequence[Answer]) -> list[Judgment]:
    """Values of texts. The labels are those of the rubric's only criterion, or Yes and No for the
    mean of several.
    """
    criteria = batch.rubric.criteria
    rows = []
    for subject, answer in zip(batch.subjects, answers, strict=True):
        said = None
        if answer.value is not None:
            shares = answer.distribution or (answer.value, 1 - answer.value)
            own = (
                tuple(criteria[0].labels)
                if len(criteria) == 1 and len(criteria[0].labels) == len(shares)
                else None
            )
            labels = own or ("Yes", "No")
            said = _Said(answer.value, labels[shares.index(max(shares))], labels, shares)
        texts = (subject.prompt, subject.text, subject.reference)
        truth = "" if subject.truth is None else f"{subject.truth:g}"
        rows.append(
            _row(
                labeler,
                batch,
                subject.subject_id,
                texts,
                said,
                answer.reason,
                answer.usage,
                answer.raw,
                truth,
            )
        )
    return rows


def pairwise_rows(labeler: str, batch: Batch, comparisons: Sequence[Comparison]) -> list[Judgment]:
    """Verdicts A, B or tie; the value is the probability of A, half of a tie's added. The gap is in
    nats.
    """
    rows = []
    for pair, c in zip(batch.pairs, comparisons, strict=True):
        said = None
        if c.is_scored:
            shares = c.distribution
            said = _Said(shares[0] + shares[2] / 2, c.verdict(), ("A", "B", "tie"), shares, c.gap)
        texts = (pair.prompt, pair.a, pair.b, pair.reference)
        rows.append(
            _row(
                labeler,
                batch,
                pair.pair_id,
                texts,
                said,
                c.reason,
                c.usage,
                c.raw,
                pair.truth or "",
            )
        )
    return rows


def comparisons_of(rows: Sequence[Judgment]) -> list[Comparison]:
    """What pairwise rows say, as they were made from it (log-odds beyond 27 nats are cut there)."""
    found = []
    for row in rows:
        usage = Usage(row.num_tokens - row.completion_tokens, row.completion_tokens)
        if row.status == "unscored":
            found.append(Comparison(None, None, row.reason, usage, raw=row.raw))
            continue
        first, second, tie = row.distribution
        odds = logit(first / (first + second)) if first + second > 0 else 0.0
        found.append(Comparison(odds + row.gap / 2, odds - row.gap / 2, "", usage, tie, row.raw))
    return found


def listwise_rows(labeler: str, batch: Batch, rankings: Sequence[Ranking]) -> list[Judgment]:
    """The best text by its letter, and its share as the value; the gap is the spread between the
    orders, in nats.
    """
    rows = []
    for listing, ranking in zip(batch.listings, rankings, strict=True):
        said = None
        if ranking.log_shares is not None:
            shares = ranking.distribution
            letters = tuple(LETTERS[: len(shares)])
            said = _Said(max(shares), letters[ranking.best], letters, shares, ranking.spread)
        texts = (listing.prompt, *listing.texts, listing.reference)
        truth = "" if listing.truth is None else LETTERS[listing.truth]
        rows.append(
            _row(
                labeler,
                batch,
                listing.listing_id,
                texts,
                said,
                ranking.reason,
                ranking.usage,
                ranking.raw,
                truth,
            )
        )
    return rows
