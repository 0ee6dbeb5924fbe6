"""Checks of completions: known answers, hostile ones, and arithmetic that pages state."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from judges.verifying.arithmetic import exact_value, find_equations, is_stated_right
from judges.verifying.checks import CHECKS, Claim, is_quoted_in, validate_check, verify_claims

SCHEMA = json.dumps(
    {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
)


def right(check: str, reference: str, *texts: str) -> list[bool]:
    return verify_claims([Claim(check, reference, text) for text in texts])


def test_math_answers_are_compared_as_numbers() -> None:
    texts = [
        "42",
        "The answer is 42.",
        r"So we get \boxed{42}",
        "6 * 7",
        "42.0",
        "It is 41, no, 42",
        "\\boxed{\\frac{84}{2}}",
    ]
    assert right("math", "42", *texts) == [True] * len(texts)
    assert (
        right("math", "42", "41", "The answer is 24.", "", "forty-two", "42 or 43") == [False] * 5
    )
    assert right("math", "0.75", "3/4", r"\frac{3}{4}", "75%", r"\boxed{\frac{3}{4}}") == [
        True,
        True,
        True,
        True,
    ]
    assert right("math", "1000", "1,000", "1e3", "10^3", "10**3") == [True] * 4


def test_hostile_arithmetic_is_wrong_and_harms_nothing() -> None:
    hostile = [
        "9**9**9**9",
        "(" * 70,
        "__import__('os').getcwd()",
        "1/0",
        "\\boxed{exec('1')}",
        "9" * 19_000,
        "9" * 30_000,
    ]
    assert right("math", "1", *hostile) == [False] * len(hostile)
    assert right("math", "2", "9**9**9**9", "1 + 1") == [False, True], (
        "one does not spoil the others"
    )


def test_json_is_checked_by_its_schema() -> None:
    texts = [
        '{"name": "x"}',
        '```json\n{"name": "x"}\n```',
        '{"name": 1}',
        "name: x",
        "[" * 15_000,
        "",
    ]
    assert right(f"json:{SCHEMA}", "", *texts) == [True, True, False, False, False, False]


def test_patterns_match_as_a_whole_and_in_bounded_time() -> None:
    assert right(
        r"regex:[A-Z]\w+( \w+){2}\.",
        "",
        "Three words here.",
        "three words here.",
        "Three words here. More",
    ) == [
        True,
        False,
        False,
    ]
    assert right(r"regex:(a+)+b", "", "a" * 5000) == [False]


def test_quotes_are_compared_as_answers_are() -> None:
    assert right("quote", "The Moon", "the moon", "Moon.", "moon\nbecause", "the sun") == [
        True,
        True,
        True,
        False,
    ]
    assert is_quoted_in("half  of it", "The Moon: half\nof it is lit")
    assert not is_quoted_in("half of them", "half of it")
    assert not is_quoted_in(" ", "anything")


def test_outputs_may_be_followed_by_words() -> None:
    assert right("output", "42", "42", "`42`\nbecause", "43", "") == [True, True, False, False]


@pytest.mark.parametrize(
    "check",
    [
        "magic",
        "json:{",
        "json",
        "json:",
        "regex:(",
        "regex:",
        "math:x",
        "quote:x",
        "output:",
        'json:{"type": 5}',
        'json:{"$ref": "#/$defs/missing"}',
        'json:{"properties": {"a": {"$ref": "http://elsewhere/schema"}}}',
    ],
)
def test_a_check_that_cannot_be_made_is_named(check: str) -> None:
    with pytest.raises(UserError, match="prompts"):
        validate_check(check, "judge.prompts", "1")


def test_every_check_can_be_made() -> None:
    for name in CHECKS:
        validate_check({"json": f"json:{SCHEMA}", "regex": "regex:.*"}.get(name, name), "x", "1")


def test_equations_of_a_page_are_found_and_executed() -> None:
    text = (
        "We have 12 * 4 = 48, and (3 + 4) × 2 = 15."
        " In version 3.1 x=4, 10/4 = 2.5; a7 + 1 = 8; 22/7 = 3.14."
    )
    equations = find_equations(text)
    assert [(e.expression, e.stated) for e in equations] == [
        ("12 * 4", "48"),
        ("(3 + 4) × 2", "15"),
        ("10/4", "2.5"),
        ("22/7", "3.14"),
    ]
    values = [exact_value(e.expression) for e in equations]
    assert [
        is_stated_right(e.stated, v)
        for e, v in zip(equations, values, strict=True)
        if v is not None
    ] == [
        True,
        False,
        True,
        True,
    ]
    assert text[equations[0].position :].startswith("12")


@given(st.text(max_size=300))
def test_any_text_can_be_searched_for_equations(text: str) -> None:
    assert len(find_equations(text)) <= 20


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("math", ""),
        ("math", "forty-two"),
        ("math", "42 or 43"),
        ("math", "5 apples"),
        ("math", "9**9**9"),
        ("quote", ""),
        ("quote", "…"),
        ("output", " \n"),
    ],
)
def test_an_answer_that_no_check_can_use_is_named(check: str, answer: str) -> None:
    with pytest.raises(UserError, match="cannot be checked"):
        validate_check(check, "judge.prompts", answer)


def test_references_within_a_schema_are_followed() -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}
    validate_check(f"json:{json.dumps(schema)}", "x", "")
    assert right(f"json:{json.dumps(schema)}", "", "[1]", '["a"]') == [True, False]


def test_json_with_keys_that_repeat_or_numbers_that_are_none_is_wrong() -> None:
    texts = ['{"a": 1, "a": 2}', "NaN", "[Infinity]", "[-Infinity]", '{"b": {"c": 1, "c": 1}}']
    assert right("json:{}", "", *texts) == [False] * len(texts)


def test_quotes_are_whole_words_in_any_writing() -> None:
    assert not is_quoted_in("art", "the cart")
    assert not is_quoted_in("the car", "the cart")
    assert is_quoted_in("\u201cyes\u201d", 'he said "yes" to it')
    assert is_quoted_in("Ｗｉｄｅ", "Wide letters")
    assert is_quoted_in("月亮", "看月亮的时候")
    assert is_quoted_in("größer als", "Er ist größer  als ich")
    assert right("quote", "月亮", "月亮。", "「月亮」", "太阳") == [True, True, False]
    assert right("quote", "5", "-5") == [False]
    assert right("quote", "3.14", "314") == [False]
