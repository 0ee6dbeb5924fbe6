"""Preferences between completions: contests judged within a budget, strengths fitted, all pairs of
the ranking.

The contests that are asked about are those that teach most; length and style are covariates, so
that a labeler's liking for them does not decide. Of completions that are nearly as good as the
best, the shortest is chosen. Everything is computed from stored judgments (`preferences_from`), so
that it can be computed again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from infra.records import Completion, Judgment, Preference, Sample, content_key, unit_hash
from infra.records.labeler import Admission, ProbeResult, WinRate
from judges.config import JudgeConfig
from judges.judgment.answers import logit, sigmoid
from judges.judgment.elicitation import Subject
from judges.judgment.judging import Batch, Mode
from judges.judgment.pairs import Pair
from judges.judgment.protocol import Judge
from judges.making.preferences.rating import Contest, Ratings, fit_ratings, style_of
from judges.measuring.calibration import SENTINEL
from judges.measuring.intervals import Interval
from judges.measuring.winrates import Errors, corrected_win_rate
from judges.rubrics import Rubric

Places = tuple[int, int]


@dataclass(frozen=True)
class Group:
    """The completions of one prompt, each text once and none empty. Those of an `older` model are
    only rejected.
    """

    sample: Sample
    completions: tuple[Completion, ...]
    older: frozenset[str]


def groups_of(
    prompts: Sequence[Sample], completions: Sequence[Completion], champion: str, generation: int
) -> list[Group]:
    """Groups of at least two completions, one of them at least by the champion, in the prompts'
    order.
    """
    by_prompt: dict[str, dict[str, Completion]] = {}
    for c in sorted(completions, key=lambda c: (c.model_digest != champion, c.index)):
        if c.text.strip() and c.generation == generation:
            by_prompt.setdefault(c.sample_id, {}).setdefault(c.text.strip(), c)
    groups = []
    for sample in prompts:
        found = tuple(by_prompt.get(sample.sample_id, {}).values())
        older = frozenset(c.completion_id for c in found if c.model_digest != champion)
        if len(found) > 1 and len(older) < len(found):
            groups.append(Group(sample, found, older))
    return groups


def pair_of(group: Group, places: Places) -> Pair:
    """Two completions of a group, the first shown by a hash."""
    a, b = (group.completions[i] for i in places)
    first = unit_hash("side", a.completion_id, b.completion_id) < 0.5
    a, b = (a, b) if first else (b, a)
    return Pair(content_key(a.completion_id, b.completion_id), group.sample.prompt, a.text, b.text)


def contests_in(
    groups: Sequence[Group], rows: Mapping[str, Judgment], temperature: float
) -> list[Contest]:
    """What scored rows say, with items numbered through all groups.

    A row of a pair is a contest; rows of two values are one too, by the difference of their
    log-odds.
    """
    contests, start = [], 0
    for group in groups:
        values = [rows.get(c.completion_id) for c in group.completions]
        for i, j in combinations(range(len(group.completions)), 2):
            pair = pair_of(group, (i, j))
            row, one, other = rows.get(pair.pair_id), values[i], values[j]
            if row is not None and row.status == "scored":
                win, tie = (
                    row.distribution[0] / max(sum(row.distribution[:2]), 1e-12),
                    row.distribution[2],
                )
                win = win if pair.a == group.completions[i].text else 1 - win
                contests.append(
                    Contest(start + i, start + j, _tempered(logit(win), temperature), tie)
                )
            elif one is not None and other is not None and one.status == other.status == "scored":
                odds = logit(one.value) - logit(other.value)
                contests.append(Contest(start + i, start + j, _tempered(odds, temperature)))
        start += len(group.completions)
    return contests


def _tempered(odds: float, temperature: float) -> float:
    return sigmoid(min(max(odds / temperature, -30.0), 30.0))


def ratings_of(groups: Sequence[Group], contests: Sequence[Contest]) -> Ratings:
    """Strengths of all completions of all groups, what length and style explain taken out."""
    texts = [c.text for group in groups for c in group.completions]
    return fit_ratings(
        len(texts), contests, np.array([style_of(text) for text in texts]).reshape(-1, 2)
    )


def preferences_from(
    groups: Sequence[Group],
    rows: Mapping[str, Judgment],
    admission: Admission,
    min_margin: float,
    generation: int,
) -> dict[str, list[Preference]]:
    """Prompt to preferences, where there are any: the best over the worst, then the ranking's other
    pairs.
    """
    contests = contests_in(groups, rows, admission.temperature)
    ratings = ratings_of(groups, contests)
    judged = {i for contest in contests for i in (contest.first, contest.second)}
    found, start = {}, 0
    for group in groups:
        places = [i for i in range(len(group.completions)) if start + i in judged]
        sides = _sides(group, places, start, ratings, min_margin)
        if sides is not None:
            pairs = [sides, *_other_pairs(group, places, start, ratings, min_margin, sides)]
            found[group.sample.sample_id] = [
                _preference(group, pair, start, ratings, admission.labeler, generation, place)
                for place, pair in enumerate(pairs)
            ]
        start += len(group.completions)
    return found


def _sides(
    group: Group, places: Sequence[int], start: int, ratings: Ratings, min_margin: float
) -> Places | None:
    """(chosen, rejected) of a group's judged completions, None where all are within the margin."""
    own = [i for i in places if group.completions[i].completion_id not in group.older]
    if not own:
        return None
    strength = {i: float(ratings.strengths[start + i]) for i in places}
    best = max(strength[i] for i in own)
    near = [i for i in own if strength[i] >= best - min_margin]
    chosen = min(near, key=lambda i: (len(group.completions[i].text), i))
    rejected = min(places, key=lambda i: (strength[i], i))
    return (chosen, rejected) if strength[chosen] - strength[rejected] > min_margin else None


def _other_pairs(
    group: Group,
    places: Sequence[int],
    start: int,
    ratings: Ratings,
    min_margin: float,
    sides: Places,
) -> list[Places]:
    """(better, worse) of the other pairs that are further apart than the margin, the better one
    never the older's.
    """
    strength = {i: float(ratings.strengths[start + i]) for i in places}
    return [
        (i, j)
        for i in places
        for j in places
        if (i, j) != sides
        and group.completions[i].completion_id not in group.older
        and strength[i] - strength[j] > min_margin
    ]


def _preference(
    group: Group,
    sides: Places,
    start: int,
    ratings: Ratings,
    labeler: str,
    generation: int,
    place: int,
) -> Preference:
    chosen, rejected = (group.completions[i] for i in sides)
    first, second = (start + i for i in sides)
    return Preference(
        preference_id=content_key(group.sample.sample_id, chosen.text, rejected.text),
        sample_id=group.sample.sample_id,
        prompt=group.sample.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_origin="model",
        labeler=labeler,
        probability=ratings.probability(first, second),
        margin=ratings.margin(first, second),
        generation=generation,
        rejected_model=rejected.model_digest,
        place=place,
    )


def wins_over_older(groups: Sequence[Group], contests: Sequence[Contest]) -> tuple[int, int]:
    """(wins, contests) of the champion's completions against the older model's; even ones are left
    out.
    """
    older = [c.completion_id in group.older for group in groups for c in group.completions]
    wins = number = 0
    for contest in contests:
        if older[contest.first] != older[contest.second] and contest.win != 0.5:
            number += 1
            wins += (contest.win > 0.5) == older[contest.second]
    return wins, number


def tested_errors(admission: Admission, tested: Sequence[ProbeResult]) -> Errors:
    """A labeler's errors on its test pairs, as it was admitted.

    Those pairs show the better side first and second equally often, so half of the errors are
    counted to each.
    """
    mine = [
        r
        for r in tested
        if (r.rubric, r.way) == (admission.rubric, admission.way) and SENTINEL not in r.probe
    ]
    pairs = sum(r.num_pairs for r in mine)
    right = round(sum(r.num_pairs * r.accuracy for r in mine))
    return Errors(pairs - pairs // 2, right - right // 2, pairs // 2, right // 2)


def win_rate_of(
    admission: Admission,
    tested: Sequence[ProbeResult],
    models: tuple[str, str],
    wins: tuple[int, int],
    generation: int,
) -> WinRate:
    """The (wins, contests) of one of two models over the other, the errors on the labeler's test
    pairs taken out.
    """
    found = corrected_win_rate(*wins, tested_errors(admission, tested))
    bounds = found.corrected or Interval(math.nan, math.nan, math.nan)
    return WinRate(
        generation,
        admission.labeler,
        admission.rubric,
        *models,
        wins[1],
        found.raw.value,
        found.raw.low,
        found.raw.high,
        bounds.value,
        bounds.low,
        bounds.high,
        found.reason,
    )


@dataclass(frozen=True)
class Contests:
    """Which judgments on completions to ask for next, for one labeler and rubric."""

    judge: Judge
    config: JudgeConfig
    rubric: Rubric
    admission: Admission
    seed: int
    generation: int

    @property
    def mode(self) -> Mode:
        """Pairs for a labeler that looks at both sides, if the rubric has words for that; else
        values of each alone.
        """
        return "pointwise" if self.judge.values_sides or self.rubric.choice is None else "pairwise"

    def most_items(self, groups: Sequence[Group]) -> int:
        """How many items will be asked about at most."""
        sizes = [len(group.completions) for group in groups]
        if self.mode == "pointwise":
            return sum(sizes)
        return sum(min(self.config.pairs_per_prompt, n * (n - 1) // 2) for n in sizes)

    def next_batch(self, groups: Sequence[Group], rows: Mapping[str, Judgment]) -> Batch | None:
        """What to ask about next, given the rows so far; None when the budget is spent or nothing
        is left.
        """
        if self.mode == "pointwise":
            missing = [(g, c) for g in groups for c in g.completions if c.completion_id not in rows]
            subjects = [Subject(c.completion_id, g.sample.prompt, c.text) for g, c in missing]
            return self._batch(subjects=subjects) if subjects else None
        ratings = ratings_of(groups, contests_in(groups, rows, self.admission.temperature))
        pairs, start = [], 0
        for group in groups:
            places = self._most_informative(group, rows, ratings, start)
            if places is not None:
                pairs.append(pair_of(group, places))
            start += len(group.completions)
        return self._batch(pairs=pairs) if pairs else None

    def _most_informative(
        self, group: Group, rows: Mapping[str, Judgment], ratings: Ratings, start: int
    ) -> Places | None:
        """The pair that teaches most of those not yet asked about, by hash among equals; None past
        the budget.
        """
        pairs = {
            places: pair_of(group, places)
            for places in combinations(range(len(group.completions)), 2)
        }
        left = [places for places, pair in pairs.items() if pair.pair_id not in rows]
        if not left or len(pairs) - len(left) >= self.config.pairs_per_prompt:
            return None
        return max(
            left,
            key=lambda p: (
                round(ratings.information(start + p[0], start + p[1]), 9),
                unit_hash(self.seed, pairs[p].pair_id),
            ),
        )

    def _batch(self, subjects: Sequence[Subject] = (), pairs: Sequence[Pair] = ()) -> Batch:
        return Batch(
            self.rubric,
            self.mode,
            self.admission.way,
            subjects,
            pairs,
            seed=self.seed,
            generation=self.generation,
        )
