"""From completions to preferences: contests within a budget, strengths, and the chosen side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.records import EMPTY_SIDE, EQUAL_SIDES, Completion, Judgment, content_key
from infra.records.labeler import Admission
from judges.config import JudgeConfig, ScriptedConfig
from judges.judgment.answers import LabelerAnswer
from judges.judgment.pairs import Comparison
from judges.labelers.scripted import ScriptedJudge
from judges.making.preferences.judged import (
    CompletionGroup,
    ContestPlanner,
    completion_groups,
    distinct_completions,
    preferences_from,
    rate_completions,
    read_contests,
)
from judges.measuring.admission import log_length
from judges.rubrics import load_rubric
from tests.judges.making.passages.test_samples import sample

RUBRIC = load_rubric("relevance")
ADMISSION = Admission("a", "judge@1", RUBRIC.id, "scripted", True, "", 1.0)
TEXTS = ("the best of them all", "quite good a text", "not so good a one", "the worst there is")


def completions(
    prompt: str, texts: tuple[str, ...] = TEXTS, model: str = "champion"
) -> list[Completion]:
    return [
        Completion(content_key(prompt, model, i), prompt, model, i, text, 3, 1)
        for i, text in enumerate(texts)
    ]


class Orderly(ScriptedJudge):
    """Prefers earlier texts of a list, by a fixed log-odds for each place between them."""

    order = TEXTS

    def score(self, rubric, method, subjects):
        return [LabelerAnswer(1 - 0.2 * (self.order.index(s.text) + 0.5)) for s in subjects]

    def compare(self, rubric, method, pairs):
        odds = [2.0 * (self.order.index(p.b) - self.order.index(p.a)) for p in pairs]
        return [Comparison(x, x) for x in odds]


def contests(judge: ScriptedJudge, **options: object) -> ContestPlanner:
    return ContestPlanner(judge, JudgeConfig(**options), RUBRIC, ADMISSION, 0, 1)


def judged(asking: ContestPlanner, groups: list[CompletionGroup]) -> dict[str, Judgment]:
    rows: dict[str, Judgment] = {}
    while (batch := asking.next_batch(groups, rows)) is not None:
        fresh = asking.judge.judge(batch)
        assert not rows.keys() & {row.subject_id for row in fresh}, "nothing is asked twice"
        rows |= {row.subject_id: row for row in fresh}
    return rows


def group(texts: tuple[str, ...] = TEXTS, older: tuple[str, ...] = ()) -> list[CompletionGroup]:
    return completion_groups(
        [sample("p")], completions("p", texts) + completions("p", older, "old"), "champion", 1
    )


@pytest.mark.parametrize("budget", [3, 4, 6])
def test_pairs_are_asked_about_within_the_budget_and_the_best_wins_over_the_worst(
    budget: int,
) -> None:
    asking = contests(Orderly(ScriptedConfig()), pairs_per_prompt=budget)
    rows = judged(asking, group())
    assert len(rows) == budget
    preference = preferences_from(group(), rows, ADMISSION, 0.1, 1)["p"][0]
    if budget == 6:
        assert (preference.chosen, preference.rejected) == (TEXTS[0], TEXTS[3])
    assert preference.margin > 0.1
    assert 0.5 < preference.probability < 1


def test_a_labeler_that_values_texts_alone_is_asked_about_each_once() -> None:
    judge = Orderly(ScriptedConfig())
    judge.values_sides = True
    rows = judged(contests(judge), group())
    assert len(rows) == 4
    assert {row.mode for row in rows.values()} == {"pointwise"}
    preference = preferences_from(group(), rows, ADMISSION, 0.1, 1)["p"][0]
    assert (preference.chosen, preference.rejected) == (TEXTS[0], TEXTS[3])


def test_every_pair_is_drawn_into_the_contests_before_one_is_known_well() -> None:
    """Four texts are joined by three pairs, so three questions suffice to rank them all."""
    asking = contests(Orderly(ScriptedConfig()), pairs_per_prompt=3)
    seen = read_contests(group(), judged(asking, group()), ADMISSION)
    assert {i for c in seen for i in (c.first, c.second)} == {0, 1, 2, 3}


def test_an_older_models_text_is_rejected_and_never_chosen() -> None:
    best = "older and the best of all"
    judge = Orderly(ScriptedConfig())
    judge.order = (best, *TEXTS)
    groups = group(older=(best,))
    rows = judged(contests(judge, pairs_per_prompt=10), groups)
    assert preferences_from(groups, rows, ADMISSION, 0.1, 1)["p"][0].chosen == TEXTS[0]
    judge.order = (*TEXTS, best)
    rows = judged(contests(judge, pairs_per_prompt=10), groups)
    preference = preferences_from(groups, rows, ADMISSION, 0.1, 1)["p"][0]
    assert (preference.rejected, preference.rejected_model) == (best, "old")


def test_of_near_ties_the_shorter_one_is_chosen() -> None:
    long, short, bad = "a long text " * 9, "short one", "bad"
    judge = Orderly(ScriptedConfig())
    judge.order = (long, short, bad)
    rows = judged(contests(judge, pairs_per_prompt=3), group((long, short, bad)))
    assert preferences_from(group((long, short, bad)), rows, ADMISSION, 5.0, 1) == {}
    assert (
        preferences_from(group((long, short, bad)), rows, ADMISSION, 0.01, 1)["p"][0].chosen == long
    )
    near = {
        k: replace(r, distribution=(0.5, 0.5, 0.0))
        if bad not in _texts(r, (long, short, bad))
        else r
        for k, r in rows.items()
    }
    assert (
        preferences_from(group((long, short, bad)), near, ADMISSION, 0.6, 1)["p"][0].chosen == short
    )


def _texts(row: Judgment, texts: tuple[str, ...]) -> set[str]:
    return {text for text in texts if content_key(text) in row.subject_hashes}


def test_a_preference_for_length_that_was_measured_does_not_decide() -> None:
    """Over twenty prompts the longer text always wins by much; in one a short text wins, which is
    what counts."""
    texts = tuple("word " * n for n in (2, 8, 30))
    prompts = [sample(f"p{i}") for i in range(20)]
    groups = completion_groups(
        prompts, [c for p in prompts for c in completions(p.sample_id, texts)], "champion", 1
    )
    rows = {}
    for number, one in enumerate(groups):
        for c in one.completions:
            size = len(c.text.split())
            value = {2: 0.2, 8: 0.5, 30: 0.8}[size] if number else {2: 0.9, 8: 0.5, 30: 0.8}[size]
            rows[c.completion_id] = replace(_row(c.completion_id), value=value)
    preferences = preferences_from(groups, rows, replace(ADMISSION, length_slope=1.0), 0.0, 1)
    assert preferences["p0"][0].chosen == texts[0]
    others = [p[0].margin for key, p in preferences.items() if key != "p0"]
    assert preferences["p0"][0].margin > 5 * max(others, default=0.0)


def _row(subject_id: str) -> Judgment:
    return Judgment(
        "j" + subject_id, subject_id, "j", RUBRIC.id, "w", "scored", "", 0.5, "", 0, 1, "pointwise"
    )


def test_the_rankings_other_pairs_follow_the_best_over_the_worst() -> None:
    """Of four texts in order there are six pairs; those of an older model are never the better
    side."""
    groups = group()
    rows = judged(contests(Orderly(ScriptedConfig())), groups)
    preferences = preferences_from(groups, rows, ADMISSION, 0.0, 1)["p"]
    assert [p.pair_index for p in preferences] == list(range(len(preferences)))
    assert len({(p.chosen, p.rejected) for p in preferences}) == len(preferences) > 1
    assert all(
        (p.rejected, p.chosen) not in {(q.chosen, q.rejected) for q in preferences}
        for p in preferences
    )
    assert preferences[0].margin == max(p.margin for p in preferences)


def test_unscored_rows_are_no_contests() -> None:
    rows = judged(contests(ScriptedJudge(ScriptedConfig(unscored_share=1.0))), group())
    assert len(rows) == 4
    assert read_contests(group(), rows, ADMISSION) == []
    assert preferences_from(group(), rows, ADMISSION, 0.1, 1) == {}


def test_a_tie_that_the_labeler_names_is_kept_apart_from_a_doubt() -> None:
    class Torn(Orderly):
        def compare(self, rubric, method, pairs):
            return [Comparison(1.0, 1.0, tie=0.6) for _ in pairs]

    (contest, *_) = read_contests(
        group(), judged(contests(Torn(ScriptedConfig())), group()), ADMISSION
    )
    assert contest.tie == pytest.approx(0.6)
    assert contest.win in (pytest.approx(0.7311, abs=1e-3), pytest.approx(0.2689, abs=1e-3))


@pytest.mark.parametrize(("slope", "win"), [(0.0, 0.7311), (1.0, 0.5)])
def test_what_a_labeler_gives_for_length_alone_is_subtracted(slope: float, win: float) -> None:
    """One nat for a text that is e times as long is its taste, and no verdict."""

    class LikesLength(ScriptedJudge):
        def compare(self, rubric, method, pairs):
            odds = [log_length(p.a) - log_length(p.b) for p in pairs]
            return [Comparison(value, value) for value in odds]

    long, short = "w" * 270, "w" * 98 + "."
    groups = group((long, short))
    rows = judged(contests(LikesLength(ScriptedConfig())), groups)
    (contest, *_) = read_contests(groups, rows, replace(ADMISSION, length_slope=slope))
    assert (contest.first, contest.second) == (0, 1)
    assert contest.win == pytest.approx(win, abs=2e-3)


def test_quality_that_comes_with_length_is_kept() -> None:
    """A labeler without a taste for length ranks by quality, also where longer texts are better."""
    texts = tuple("word " * n for n in (4, 8, 16, 32, 64, 128))
    judge = Orderly(ScriptedConfig())
    judge.order = texts[::-1]
    groups = group(texts)
    rows = judged(contests(judge, pairs_per_prompt=15), groups)
    strengths = rate_completions(groups, read_contests(groups, rows, ADMISSION)).strengths
    ordered = [c.text for c in groups[0].completions]
    by_text = {text: strengths[i] for i, text in enumerate(ordered)}
    ranked = sorted(by_text, key=lambda text: by_text[text])
    assert [text.strip() for text in ranked] == [text.strip() for text in texts]


def test_empty_and_equal_texts_are_no_sides() -> None:
    assert group(("same", " same ", "")) == []
    assert group(("one",), older=("other",))[0].older
    assert (
        completion_groups([sample("p")], completions("p", ("a", "b"), "old"), "champion", 1) == []
    )


def test_completions_that_are_no_side_are_counted_with_a_reason() -> None:
    texts = ("one", " one\u200b ", "ｏｎｅ", "", " \n", "two")
    kept, drops = distinct_completions(completions("p", texts) + completions("q", ("one",)))
    assert [(c.sample_id, c.text) for c in kept] == [("p", "one"), ("p", "two"), ("q", "one")]
    ids = [c.completion_id for c in completions("p", texts)]
    reasons = [EQUAL_SIDES, EQUAL_SIDES, EMPTY_SIDE, EMPTY_SIDE]
    assert drops == list(zip(reasons, ids[1:5], strict=True))
