from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.records import (
    Page,
    Preference,
    content_key,
    now,
    side_key,
    sides_flaw,
    unit_hash,
)
from infra.records.arrow import from_table, to_table
from infra.store.frontier.records import Robots


def test_content_key_is_stable_across_versions() -> None:
    assert content_key("a", 1) == "9fe2af4305790bd0709766d7e53ab693"


@given(st.lists(st.text(), min_size=2, max_size=4))
def test_content_key_tells_apart_where_parts_end(parts: list[str]) -> None:
    joined = ["".join(parts)]
    assert content_key(*parts) != content_key(*joined)


@given(st.text())
def test_unit_hash_lies_in_the_unit_interval(text: str) -> None:
    assert 0.0 <= unit_hash(text) < 1.0


def test_unit_hash_is_spread_evenly() -> None:
    values = [unit_hash("seed", i) for i in range(4000)]
    for decile in range(10):
        share = sum(decile / 10 <= v < (decile + 1) / 10 for v in values) / len(values)
        assert 0.08 < share < 0.12  # 4.2 standard deviations


@given(
    st.text(),
    st.binary(),
    st.integers(-(2**62), 2**62),
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)),
)
def test_records_survive_arrow(text: str, body: bytes, number: int, moment: datetime) -> None:
    page = Page(
        text,
        text,
        text,
        text,
        text,
        text,
        number,
        text,
        number,
        text,
        text,
        text,
        moment,
        text,
        number,
        number,
        text,
        text,
    )
    robots = Robots(text, 0.5, number, body, 1.5, body, body)
    assert from_table(Robots, to_table(Robots, [robots])) == [robots]
    assert from_table(Page, to_table(Page, [page, page])) == [page, page]


def test_empty_table_keeps_its_schema() -> None:
    table = to_table(Page, [])
    assert table.num_rows == 0
    assert table.schema.names[0] == "page_id"


def test_now_has_no_time_zone() -> None:
    assert now().tzinfo is None


def preference(chosen: str, rejected: str) -> Preference:
    return Preference("p", "s", "prompt", chosen, rejected, "model", "judge", 0.9, 1.0, 1)


@pytest.mark.parametrize(
    "side", ["", " \n\t", "\u200b", "\u3000", "\u2060\ufeff", "\u3164", "\u2800", "\0"]
)
def test_no_preference_has_an_empty_side(side: str) -> None:
    for sides in ((side, "text"), ("text", side), (side, side)):
        with pytest.raises(ValueError, match="empty"):
            preference(*sides)


@pytest.mark.parametrize(
    "other", ["a text", " a  text\n", "ａ text", "a\u00a0text", "a te\u200bxt", "a te\u00adxt"]
)
def test_no_preference_has_two_equal_sides(other: str) -> None:
    with pytest.raises(ValueError, match="equal"):
        preference("a text", other)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_preference_is_made_exactly_where_its_sides_have_no_flaw(one: str, other: str) -> None:
    flaw = sides_flaw(one, other)
    assert flaw == sides_flaw(other, one)
    keys = side_key(one), side_key(other)
    assert bool(flaw) == (not all(keys) or keys[0] == keys[1])
    if flaw:
        with pytest.raises(ValueError, match=flaw):
            preference(one, other)
    else:
        assert preference(one, other).chosen == one
