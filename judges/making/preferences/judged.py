"""Preferences between completions, from a labeler's judgments.

Within a token budget, the labeler is asked about the pairs of completions that are most
informative. The results are contests, from which strengths are fitted (`rating.py`) with length and
style as covariates, so that a length bias of the labeler does not decide. The shortest of the
completions that are within the margin of the best one is chosen. All preferences are computed from
stored judgments (`preferences_from`) and can be computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from infra.records import (
    EMPTY_SIDE,
    EQUAL_SIDES,
    Completion,
    Judgment,
    Preference,
    Sample,
    content_key,
    side_key,
    unit_hash,
)
from infra.records.labeler import Admission, LabelerErrors, ProbeResult, WinRate
from judges.config import JudgeConfig
from judges.judgment.answers import logit, sigmoid
from judges.judgment.batches import Batch, Mode
from judges.judgment.elicitation import Subject
from judges.judgment.pairs import Pair
from judges.judgment.protocol import Judge
from judges.making.preferences.rating import Contest, Ratings, fit_ratings, marked_share
from judges.measuring.admission import SENTINEL, log_length
from judges.measuring.intervals import not_measured
from judges.measuring.win_rates import corrected_win_rate
from judges.rubrics import Rubric

IndexPair = tuple[int, int]
"""Indices of two completions of a group."""


@dataclass(frozen=True)
class CompletionGroup:
    """The different, non-empty completions of one prompt.

    `older` holds the ids of the completions by an older model, which may only be rejected.
    """

    sample: Sample
    completions: tuple[Completion, ...]
    older: frozenset[str]

    def index_pairs(self) -> Iterator[IndexPair]:
        """Return the indices of all pairs of completions."""
        return combinations(range(len(self.completions)), 2)

    def is_older(self, index: int) -> bool:
        """Whether a completion is by the older model."""
        return self.completions[index].completion_id in self.older


def distinct_completions(
    completions: Sequence[Completion],
) -> tuple[list[Completion], list[tuple[str, str]]]:
    """Return the first completion of each text of a prompt, and the drops: (reason, completion) of
    those that are empty or repeat another.
    """
    first: dict[tuple[str, str], Completion] = {}
    drops: list[tuple[str, str]] = []
    for completion in completions:
        key = side_key(completion.text)
        if key and (completion.sample_id, key) not in first:
            first[completion.sample_id, key] = completion
        else:
            drops.append((EQUAL_SIDES if key else EMPTY_SIDE, completion.completion_id))
    return list(first.values()), drops


def completion_groups(
    prompts: Sequence[Sample], completions: Sequence[Completion], champion: str, generation: int
) -> list[CompletionGroup]:
    """Return the groups of at least two completions, one of them by the champion.

    They are in the order of the prompts; prompts without such a group are left out.
    """
    ordered = sorted(completions, key=lambda c: (c.model_digest != champion, c.index))
    distinct, _ = distinct_completions([c for c in ordered if c.generation == generation])
    by_prompt: dict[str, list[Completion]] = {}
    for c in distinct:
        by_prompt.setdefault(c.sample_id, []).append(c)
    groups = []
    for sample in prompts:
        own = tuple(by_prompt.get(sample.sample_id, []))
        older = frozenset(c.completion_id for c in own if c.model_digest != champion)
        if len(own) > 1 and len(older) < len(own):
            groups.append(CompletionGroup(sample, own, older))
    return groups


def make_pair(group: CompletionGroup, indices: IndexPair) -> Pair:
    """Return two completions of a group as a pair; a hash decides which one is A."""
    a, b = (group.completions[i] for i in indices)
    if unit_hash("side", a.completion_id, b.completion_id) >= 0.5:
        a, b = b, a
    return Pair(content_key(a.completion_id, b.completion_id), group.sample.prompt, a.text, b.text)


def _offsets(groups: Sequence[CompletionGroup]) -> list[int]:
    """Return the number of each group's first completion, counted through all groups."""
    offsets, start = [], 0
    for group in groups:
        offsets.append(start)
        start += len(group.completions)
    return offsets


def read_contests(
    groups: Sequence[CompletionGroup], rows: Mapping[str, Judgment], admission: Admission
) -> list[Contest]:
    """Return the contests in scored judgments (by subject id), numbered through all groups.

    A judgment of a pair is a contest. Two values are a contest too, by the difference of their
    log-odds. What the labeler was measured to give for length alone is subtracted.
    """
    contests = []
    for offset, group in zip(_offsets(groups), groups, strict=True):
        for i, j in group.index_pairs():
            outcome = _contest_outcome(group, (i, j), rows, admission)
            if outcome is not None:
                win, tie = outcome
                contests.append(Contest(offset + i, offset + j, win, tie))
    return contests


def _contest_outcome(
    group: CompletionGroup,
    indices: IndexPair,
    rows: Mapping[str, Judgment],
    admission: Admission,
) -> tuple[float, float] | None:
    """Return P(first is better, if not a tie) and P(tie), or None if nothing was judged."""
    pair = make_pair(group, indices)
    first, second = (group.completions[i] for i in indices)
    row = _scored(rows, pair.pair_id)
    if row is not None:
        shares = row.distribution
        win = shares[0] / max(sum(shares[:2]), 1e-12)
        win = win if pair.a == first.text else 1 - win
        return _corrected(logit(win), first.text, second.text, admission), shares[2]
    one, other = _scored(rows, first.completion_id), _scored(rows, second.completion_id)
    if one is None or other is None:
        return None
    odds = logit(one.value) - logit(other.value)
    return _corrected(odds, first.text, second.text, admission), 0.0


def _scored(rows: Mapping[str, Judgment], subject_id: str) -> Judgment | None:
    row = rows.get(subject_id)
    return row if row is not None and row.status == "scored" else None


def _corrected(odds: float, first: str, second: str, admission: Admission) -> float:
    """P(first is better) without the labeler's taste for length, calibrated."""
    taste = admission.length_slope * (log_length(first) - log_length(second))
    return sigmoid(min(max((odds - taste) / admission.temperature, -30.0), 30.0))


def rate_completions(groups: Sequence[CompletionGroup], contests: Sequence[Contest]) -> Ratings:
    """Return the strengths of all completions, without the effect of style."""
    texts = [c.text for group in groups for c in group.completions]
    features = np.array([marked_share(text) for text in texts]).reshape(-1, 1)
    return fit_ratings(len(texts), contests, features)


@dataclass(frozen=True)
class _RatedGroup:
    """A group with the ratings of its completions, which are numbered from `offset` on."""

    group: CompletionGroup
    offset: int
    ratings: Ratings
    judged: Sequence[int]
    """Indices of the completions that took part in a contest."""
    min_margin: float

    def strength(self, index: int) -> float:
        return float(self.ratings.strengths[self.offset + index])

    def best_pair(self) -> IndexPair | None:
        """Return (chosen, rejected), or None if no completion is better by the margin.

        The chosen one is the shortest of the champion's completions that are within the margin of
        its best one.
        """
        own = [i for i in self.judged if not self.group.is_older(i)]
        if not own:
            return None
        best = max(self.strength(i) for i in own)
        near = [i for i in own if self.strength(i) >= best - self.min_margin]
        chosen = min(near, key=lambda i: (len(self.group.completions[i].text), i))
        rejected = min(self.judged, key=lambda i: (self.strength(i), i))
        return (chosen, rejected) if self._is_better(chosen, rejected) else None

    def other_pairs(self, best: IndexPair) -> list[IndexPair]:
        """Return all other (better, worse) pairs; the better one is never by the older model."""
        return [
            (i, j)
            for i in self.judged
            for j in self.judged
            if (i, j) != best and not self.group.is_older(i) and self._is_better(i, j)
        ]

    def _is_better(self, one: int, other: int) -> bool:
        return self.strength(one) - self.strength(other) > self.min_margin

    def preference(
        self, indices: IndexPair, rank: int, labeler: str, generation: int
    ) -> Preference:
        """Return the preference of the first completion over the second one."""
        sample = self.group.sample
        chosen, rejected = (self.group.completions[i] for i in indices)
        first, second = (self.offset + i for i in indices)
        return Preference(
            preference_id=content_key(sample.sample_id, chosen.text, rejected.text),
            sample_id=sample.sample_id,
            prompt=sample.prompt,
            chosen=chosen.text,
            rejected=rejected.text,
            chosen_origin="model",
            labeler=labeler,
            probability=self.ratings.probability(first, second),
            margin=self.ratings.margin(first, second),
            generation=generation,
            rejected_model=rejected.model_digest,
            pair_index=rank,
        )


def preferences_from(
    groups: Sequence[CompletionGroup],
    rows: Mapping[str, Judgment],
    admission: Admission,
    min_margin: float,
    generation: int,
) -> dict[str, list[Preference]]:
    """Return prompt id -> preferences: the best completion over the worst one, then other pairs.

    Prompts without preferences are left out.
    """
    contests = read_contests(groups, rows, admission)
    ratings = rate_completions(groups, contests)
    judged = {i for contest in contests for i in (contest.first, contest.second)}
    preferences = {}
    for offset, group in zip(_offsets(groups), groups, strict=True):
        indices = [i for i in range(len(group.completions)) if offset + i in judged]
        rated = _RatedGroup(group, offset, ratings, indices, min_margin)
        best = rated.best_pair()
        if best is not None:
            preferences[group.sample.sample_id] = [
                rated.preference(pair, rank, admission.labeler, generation)
                for rank, pair in enumerate([best, *rated.other_pairs(best)])
            ]
    return preferences


def wins_over_older(
    groups: Sequence[CompletionGroup], contests: Sequence[Contest]
) -> tuple[int, int]:
    """Return (wins, contests) of the champion's completions against the older model's.

    Contests without a winner are left out.
    """
    is_older = [group.is_older(i) for group in groups for i in range(len(group.completions))]
    wins = number = 0
    for contest in contests:
        if is_older[contest.first] != is_older[contest.second] and contest.win != 0.5:
            number += 1
            wins += (contest.win > 0.5) == is_older[contest.second]
    return wins, number


def tested_errors(admission: Admission, tested: Sequence[ProbeResult]) -> LabelerErrors:
    """Return a labeler's errors on the test halves of its probes, with the admitted method.

    In these pairs the better side is A about as often as B, so half of the errors count for each.
    """
    key = admission.rubric, admission.method
    results = [r for r in tested if (r.rubric, r.method) == key and SENTINEL not in r.probe]
    pairs = sum(r.num_pairs for r in results)
    right = round(sum(r.num_pairs * r.accuracy for r in results))
    return LabelerErrors(pairs - pairs // 2, right - right // 2, pairs // 2, right // 2)


def make_win_rate(
    admission: Admission,
    tested: Sequence[ProbeResult],
    models: tuple[str, str],
    wins: tuple[int, int],
    generation: int,
) -> WinRate:
    """Return the win rate of the first model over the second, from (wins, contests).

    It is corrected for the labeler's errors on its probes.
    """
    rate = corrected_win_rate(*wins, tested_errors(admission, tested))
    corrected = rate.corrected or not_measured()
    model, other = models
    return WinRate(
        generation=generation,
        labeler=admission.labeler,
        rubric=admission.rubric,
        model=model,
        other=other,
        num_pairs=wins[1],
        measured=rate.raw.value,
        measured_low=rate.raw.low,
        measured_high=rate.raw.high,
        corrected=corrected.value,
        low=corrected.low,
        high=corrected.high,
        reason=rate.reason,
    )


@dataclass(frozen=True)
class ContestPlanner:
    """Chooses the judgments on completions to ask for next, for one labeler and rubric."""

    judge: Judge
    config: JudgeConfig
    rubric: Rubric
    admission: Admission
    seed: int
    generation: int

    @property
    def mode(self) -> Mode:
        """`pairwise` if the labeler compares both sides and the rubric has a prompt for it, else
        `pointwise`.
        """
        return "pointwise" if self.judge.values_sides or self.rubric.choice is None else "pairwise"

    def max_items(self, groups: Sequence[CompletionGroup]) -> int:
        """Return the maximum number of items that will be asked about."""
        sizes = [len(group.completions) for group in groups]
        if self.mode == "pointwise":
            return sum(sizes)
        return sum(min(self.config.pairs_per_prompt, n * (n - 1) // 2) for n in sizes)

    def next_batch(
        self, groups: Sequence[CompletionGroup], rows: Mapping[str, Judgment]
    ) -> Batch | None:
        """Return the next batch, given the judgments so far (by subject id).

        None if the budget is spent or nothing is left.
        """
        if self.mode == "pointwise":
            subjects = [
                Subject(c.completion_id, group.sample.prompt, c.text)
                for group in groups
                for c in group.completions
                if c.completion_id not in rows
            ]
            return self._batch(subjects=subjects) if subjects else None
        ratings = rate_completions(groups, read_contests(groups, rows, self.admission))
        pairs = []
        for offset, group in zip(_offsets(groups), groups, strict=True):
            pair = self._most_informative(group, rows, ratings, offset)
            if pair is not None:
                pairs.append(pair)
        return self._batch(pairs=pairs) if pairs else None

    def _most_informative(
        self, group: CompletionGroup, rows: Mapping[str, Judgment], ratings: Ratings, offset: int
    ) -> Pair | None:
        """Return the most informative pair that is not judged yet; a hash breaks ties.

        None if the group's budget is spent or all pairs are judged.
        """
        pairs = {indices: make_pair(group, indices) for indices in group.index_pairs()}
        open_pairs = {i: pair for i, pair in pairs.items() if pair.pair_id not in rows}
        if not open_pairs or len(pairs) - len(open_pairs) >= self.config.pairs_per_prompt:
            return None

        def merit(indices: IndexPair) -> tuple[float, float]:
            first, second = (offset + i for i in indices)
            information = round(ratings.information(first, second), 9)
            return information, unit_hash(self.seed, pairs[indices].pair_id)

        return open_pairs[max(open_pairs, key=merit)]

    def _batch(self, subjects: Sequence[Subject] = (), pairs: Sequence[Pair] = ()) -> Batch:
        return Batch(
            self.rubric,
            self.mode,
            self.admission.method,
            subjects,
            pairs,
            seed=self.seed,
            generation=self.generation,
            key="judge.answer_rubric",
        )
