from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.records import Completion, Document, Judgment, Sample
from judges.passages import choose_passages, cut_passages, estimated_tokens, mean_ranks, select_passages
from judges.preferences import executed_preference


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


def test_the_best_share_is_kept_best_first() -> None:
    samples = [sample(str(i), "x" * 32) for i in range(10)]
    kept = select_passages(samples, {str(i): i / 10 for i in range(10)}, 0.3, 10_000)
    assert [s.sample_id for s in kept] == ["9", "8", "7"]
    assert select_passages(samples, {}, 0.3, 10_000) == []


def test_executed_preference_holds_the_right_over_the_wrong() -> None:
    found = executed_preference(sample("s"), completions("5", "6", "6 because"), 1)
    assert found is not None
    assert (found.chosen, found.rejected, found.chosen_origin) == ("6", "5", "model")


def test_where_no_completion_is_right_the_executed_output_is_chosen() -> None:
    found = executed_preference(sample("s"), completions("5", "7"), 1)
    assert found is not None
    assert (found.chosen, found.chosen_origin) == ("6", "web")


def test_no_preference_where_all_are_right_or_empty() -> None:
    assert executed_preference(sample("s"), completions("6", "6"), 1) is None
    assert executed_preference(sample("s"), completions("", " "), 1) is None
