from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, field_validator

from infra.config import Section, parse_override, read_toml, validate, with_overrides
from infra.errors import UserError


class Inner(Section):
    learning_rate: float = 0.1
    names: list[str] = Field(default=[])

    @field_validator("learning_rate")
    @classmethod
    def _check(cls, value: float) -> float:
        if value == 13.0:
            raise ValueError("13 brings bad luck")
        return value


class Suite(Section):
    kind: str


class Outer(Section):
    seed: int = 0
    inner: Inner = Inner()
    suites: dict[str, Suite] = Field(default={})


class Whole(Section):
    outer: Outer
    name: str = ""


def test_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(
        UserError, match=r"inner.learning_rat = .*Did you mean 'inner.learning_rate'"
    ):
        validate(Outer, {"inner": {"learning_rat": 1.0}})


def test_key_in_the_wrong_section_names_the_right_one() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'inner.learning_rate'"):
        validate(Outer, {"learning_rate": 1.0})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inner": {"inne": 1}}, "inner.inne = '1': there is no such key. Valid keys of inner: "),
        ({"inner": {"x": {"y": 1}}}, "inner.x: there is no such key."),
        ({"suites": {"x": {"knd": "a"}}}, "suites.x.knd = 'a': .* Did you mean 'suites.x.kind'"),
        ({"suites": {"x": {}}}, "^suites.x.kind: this key is missing. Add it.$"),
        ({"inner": {"learning_rate": 13.0}}, "inner.learning_rate = '13.0': 13 brings bad luck. C"),
    ],
)
def test_errors_name_the_key_and_no_more(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(Outer, data)


def test_a_missing_section_is_named_without_everything_around_it() -> None:
    with pytest.raises(UserError) as caught:
        validate(Whole, {"name": "long" * 20})
    assert str(caught.value) == "outer: this section is missing. Add it."
    with pytest.raises(UserError) as caught:
        validate(Whole, {}, source="--rubric my.toml")
    assert str(caught.value) == "--rubric my.toml, outer: this section is missing. Add it."


def test_wrong_type_names_key_and_value() -> None:
    with pytest.raises(UserError, match=r"seed = 'seven'"):
        validate(Outer, {"seed": "seven"})


def test_a_string_is_not_silently_a_number() -> None:
    with pytest.raises(UserError, match="seed"):
        validate(Outer, {"seed": "7"})


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("seed=3", ["seed"], 3),
        ("inner.learning_rate=1e-4", ["inner", "learning_rate"], 1e-4),
        ('inner.names=["a", "b"]', ["inner", "names"], ["a", "b"]),
        ("name=plain words", ["name"], "plain words"),
        ("flag=true", ["flag"], True),
    ],
)
def test_override_values_are_toml_or_plain_strings(
    text: str, path: list[str], value: object
) -> None:
    assert parse_override(text) == (path, value)


def test_override_without_equals_sign_is_explained() -> None:
    with pytest.raises(UserError, match="key=value"):
        parse_override("seed")


def test_overrides_do_not_touch_the_original() -> None:
    data = {"inner": {"learning_rate": 0.1}}
    assert with_overrides(data, ["inner.learning_rate=0.2", "seed=4"]) == {
        "inner": {"learning_rate": 0.2},
        "seed": 4,
    }
    assert data == {"inner": {"learning_rate": 0.1}}


def test_override_into_a_value_is_refused() -> None:
    with pytest.raises(UserError, match="not a section"):
        with_overrides({"seed": 1}, ["seed.x=2"])


def test_missing_and_malformed_files_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UserError, match="not valid TOML"):
        read_toml(tmp_path / "bad.toml")


def test_a_binary_file_is_not_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(UserError, match=r"it is not a text file in UTF-8\."):
        read_toml(tmp_path / "binary.toml")


def test_toml_errors_name_the_key_that_gave_the_file(tmp_path: Path) -> None:
    for file in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UserError) as caught:
            read_toml(file, "--rubric")
        assert caught.value.key == "--rubric"


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1")
    assert read_toml(tmp_path / "a.toml") == {"a": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inner": {"learning_rate": float("inf")}}, "inner.learning_rate"),
        ({"inner": {"learning_rate": float("nan")}}, "inner.learning_rate"),
        ({"seed": 2**63}, "more than 64 bits"),
        ({"suites": {"x": {"kind": "a\0b"}}}, "NUL"),
    ],
)
def test_values_that_no_call_can_use_are_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(Outer, data, source="recipe")
