from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from infra.config import Section, parse_override, read_toml, validate, with_overrides
from infra.errors import UserError


class Inner(Section):
    learning_rate: float = 0.1
    names: list[str] = Field(default=[])


class Outer(Section):
    seed: int = 0
    inner: Inner = Inner()


def test_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(
        UserError, match=r"inner.learning_rat = .*Did you mean 'inner.learning_rate'"
    ):
        validate(Outer, {"inner": {"learning_rat": 1.0}})


def test_key_in_the_wrong_section_names_the_right_one() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'inner.learning_rate'"):
        validate(Outer, {"learning_rate": 1.0})


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
