from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.records import EMPTY_SIDE, EQUAL_SIDES, Completion, Document, Judgment, Sample
from judges.config import SelectionConfig
from judges.making.passages.cutting import (
    choose_passages,
    cut_passages,
    estimated_tokens,
    mean_ranks,
)
from judges.making.passages.selection import Candidate, sample_passages, surprise_bands
from judges.making.preferences.checked import checked_judgments, checked_preferences
from judges.verifying.checks import is_output


def document(name: str, text: str) -> Document:
    return Document(name, "p", "u", name, text, "en", "x", "train", 1)


def sample(name: str, completion: str = "6", origin: str = "web") -> Sample:
    return Sample(name, "d", "demonstration", f"prompt {name}", completion, origin, 1, 0, 0)


def completions(*texts: str) -> list[Completion]:
    return [Completion(f"c{i}", "s", "m", i, text, 1, 1) for i, text in enumerate(texts)]


def judgment(subject: str, value: float, status: str = "scored") -> Judgment:
    return Judgment(f"j{subject}", subject, "l", "r", "w", status, "", value, "", 0, 1)


@given(st.text(alphabet="ab \n", max_size=800), st.integers(100, 300))
def test_passages_are_consecutive_spans_no_longer_than_allowed(text: str, limit: int) -> None:
    spans = cut_passages(text, limit)
    for start, end in spans:
        assert 0 < end - start <= limit
    for (_, end), (start, _) in pairwise(spans):
        assert end <= start


def test_cuts_fall_between_lines() -> None:
    text = ("x" * 60 + "\n") * 10
    assert all(text[start:end].endswith("\n") for start, end in cut_passages(text, 200))


def test_choice_stays_in_the_budget_and_takes_every_document_first() -> None:
    documents = [document(str(i), f"{i} " + "word " * 400) for i in range(5)]
    chosen = choose_passages(documents, 500, 1000, 1, "salt")
    assert sum(estimated_tokens(s.completion) for s in chosen) <= 1000
    assert {s.document_id for s in chosen[:5]} == {str(i) for i in range(5)}
    assert chosen == choose_passages(documents, 500, 1000, 1, "salt")
    for s in chosen:
        assert documents[int(s.document_id)].text[s.source_start : s.source_end] == s.completion


def test_ranks_are_means_over_rubrics_and_unscored_subjects_have_none() -> None:
    ranks = mean_ranks(
        {
            "one": [judgment("a", 0.1), judgment("b", 0.9), judgment("c", 0.5)],
            "two": [judgment("a", 5.0), judgment("b", 7.0), judgment("c", 0.0, "unscored")],
        }
    )
    assert ranks == {"a": pytest.approx((1 / 3 + 1 / 2) / 2), "b": pytest.approx(1.0)}


def preferred(*texts: str, reference: str = "6"):
    group = completions(*texts)
    return checked_preferences(
        sample("s", reference), group, [is_output("6", text) for text in texts], 1
    )[0]


def test_a_checked_preference_holds_the_right_over_the_wrong() -> None:
    preference = preferred("5", "6 because", "6")[0]
    assert (
        preference.chosen,
        preference.rejected,
        preference.chosen_origin,
        preference.pair_index,
    ) == (
        "6",
        "5",
        "model",
        0,
    )


def test_every_right_text_is_held_over_every_wrong_one_once() -> None:
    preferences = preferred("5", "6\nbecause", "7", "6", "7")
    assert [(p.chosen, p.rejected) for p in preferences] == [
        ("6", "5"),
        ("6", "7"),
        ("6\nbecause", "5"),
        ("6\nbecause", "7"),
    ]
    assert [p.pair_index for p in preferences] == [0, 1, 2, 3]


def test_where_no_completion_is_right_the_known_answer_is_chosen() -> None:
    preference = preferred("5", "7")[0]
    assert (preference.chosen, preference.chosen_origin) == ("6", "web")
    assert preferred("5", "7", reference="") == [], (
        "a check without a known answer has none to give"
    )


def test_no_preference_where_all_are_right_or_empty() -> None:
    assert preferred("6", "6") == []
    assert preferred("", " ") == []


def test_a_pair_with_an_empty_or_equal_side_is_dropped_with_a_reason() -> None:
    group = completions("6", "６", " ", "5", "", "5\u200b")
    is_right = [True, False, False, False, False, False]
    preferences, drops = checked_preferences(sample("s", "6"), group, is_right, 1)
    assert [(p.chosen, p.rejected, p.pair_index) for p in preferences] == [("6", "5", 0)]
    assert [reason for reason, _ in drops] == [EQUAL_SIDES, EMPTY_SIDE]
    assert len({subject for _, subject in drops}) == 2
    assert checked_preferences(sample("s", " "), completions("5"), [False], 1)[0] == []


def test_every_completion_gets_the_verifiers_word() -> None:
    rows = checked_judgments(
        replace(sample("s"), check="output"), completions("5", "6"), [False, True], 1
    )
    assert [(r.value, r.verdict, r.method) for r in rows] == [
        (0.0, "wrong", "output"),
        (1.0, "right", "output"),
    ]


# Drawing the passages to learn from.


def candidates(number: int, domains: int = 1, size: int = 32) -> list[Candidate]:
    return [
        Candidate(
            sample(str(i), "x" * size), i / number, f"d{i % domains}", (i * 7 % number) / number
        )
        for i in range(number)
    ]


def drawn(passages: list[Candidate], **options: float) -> list[Candidate]:
    chosen = sample_passages(passages, SelectionConfig(**options), 10**9, "salt")
    by_id = {c.sample.sample_id: c for c in passages}
    return [by_id[s.sample_id] for s in chosen]


def test_better_passages_are_drawn_more_often_and_worse_ones_too() -> None:
    passages = candidates(1000)
    kept = drawn(passages, keep_share=0.3, temperature=0.2)
    assert len(kept) == pytest.approx(300, abs=3)
    assert sum(c.rank for c in kept) / len(kept) > 0.65
    assert min(c.rank for c in kept) < 0.3, "nothing is cut off"
    sharp = drawn(passages, keep_share=0.3, temperature=0.001)
    assert sum(c.rank for c in sharp) > sum(c.rank for c in kept)


def test_the_draw_is_the_same_every_time_and_ordered() -> None:
    assert drawn(candidates(100)) == drawn(candidates(100)[::-1])


def test_every_band_of_surprise_keeps_its_share() -> None:
    passages = [replace(c, bits=1 - c.rank) for c in candidates(300)]
    kept = drawn(passages, keep_share=0.5, temperature=0.01)
    bands = surprise_bands(passages)
    counts = [
        sum(b == band for c, b in zip(passages, bands, strict=True) if c in kept)
        for band in range(3)
    ]
    assert counts == [50, 50, 50], "though the labeler likes best what the model finds easiest"


def test_no_domain_takes_more_than_its_share() -> None:
    passages = [
        replace(c, domain="big" if i % 10 else f"small{i}") for i, c in enumerate(candidates(400))
    ]
    kept = drawn(passages, keep_share=0.5, max_domain_share=0.25)
    assert sum(c.domain == "big" for c in kept) <= 0.25 * 200
    assert len({c.domain for c in kept}) > 15
    assert len(drawn(candidates(50, domains=1))) == 40, "a crawl of one site is no less for it"


def test_the_budget_is_kept() -> None:
    passages = candidates(100, size=320)
    chosen = sample_passages(passages, SelectionConfig(), 1000, "s")
    assert 8 <= len(chosen) <= 10
    assert sample_passages([], SelectionConfig(), 1000, "s") == []


def test_passages_that_were_not_read_are_in_the_middle() -> None:
    assert surprise_bands([replace(c, bits=math.nan) for c in candidates(5)]) == [1] * 5
