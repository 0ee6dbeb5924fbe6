"""Reads TOML recipes into pydantic models, and applies `--set key=value`.

An unknown key is an error that suggests the most similar key. Each package defines its own section;
`loop/recipe/recipe.py` combines them.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from infra.artifacts import read_input
from infra.errors import UserError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Section(BaseModel):
    """Base class of recipe sections: no unknown keys, no type conversions, no later changes, no
    infinite numbers.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _can_be_used(cls, value: object) -> object:
        """Refuse what no later call can use: a path with a NUL, a number of more than 64 bits."""
        if isinstance(value, str) and "\0" in value:
            raise ValueError("the text contains a NUL character")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("the number has more than 64 bits")
        return value


Config = TypeVar("Config", bound=BaseModel)


def read_toml(path: Path, key: str = "recipe") -> dict[str, Any]:
    """The contents of a TOML file; a byte order mark at the start is accepted.

    Raises:
        UserError: about `key`, if it is missing or not valid TOML.
    """
    try:
        return tomllib.loads(read_input(path).decode("utf-8-sig"))
    except FileNotFoundError:
        problem, remedy = "there is no such file.", "Give the path of a TOML file."
    except UnicodeDecodeError:
        problem, remedy = "it is not a text file in UTF-8.", "Give a TOML file in UTF-8."
    except tomllib.TOMLDecodeError as error:
        problem, remedy = f"it is not valid TOML ({error}).", "Fix the TOML syntax and run again."
    except OSError as error:
        problem, remedy = (
            f"it cannot be read ({error.strerror or error}).",
            "Give a file that you may read.",
        )
    raise UserError(key, path, problem, remedy)


def parse_override(text: str) -> tuple[list[str], Any]:
    """(["a", "b"], value) for the text `a.b=value`.

    The value is parsed as TOML; if it is not valid TOML, it is a string.
    """
    key, separator, raw = text.partition("=")
    if not separator or not key.strip():
        remedy = "Write for example --set train.sft.learning_rate=1e-4."
        raise UserError("--set", text, "this is not of the form key=value.", remedy)
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    return [part.strip() for part in key.split(".")], value


def with_overrides(data: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `data` with each override `key=value` applied; missing sections are added."""
    result: dict[str, Any] = json.loads(json.dumps(data, default=str))
    for text in overrides:
        path, value = parse_override(text)
        node = result
        for part in path[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                problem = f"{part!r} is a value, not a section."
                raise UserError("--set", text, problem, f"Set {part!r} itself.")
            node = child
        node[path[-1]] = value
    return result


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys that a model accepts, including sections."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys.extend(known_keys(field.annotation, f"{prefix}{name}."))
    return keys


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `Model | None` or `dict[str, Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((section for part in get_args(annotation) if (section := _section(part))), None)


def _at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The section at a path; None if a value is there."""
    section: type[BaseModel] | None = model
    for part in path:
        field = section.model_fields.get(str(part)) if section else None
        # A part that is no field is the name of an entry of a dictionary, or its index in a list.
        section = _section(field.annotation) if field else section
    return section


def _unknown_key_remedy(model: type[BaseModel], path: Sequence[str | int], section: str) -> str:
    """Names the most similar key of the same section, or the section that has this very key.

    `section` is what comes before the keys of the model.
    """
    leaf, prefix = str(path[-1]), section + "".join(f"{part}." for part in path[:-1])
    siblings = list((_at(model, path[:-1]) or model).model_fields)
    near = [prefix + name for name in difflib.get_close_matches(leaf, siblings, n=1)]
    elsewhere = [section + key for key in known_keys(model) if key.rsplit(".", 1)[-1] == leaf]
    where = f" of {prefix[:-1]}" if prefix else ""
    valid = f"Valid keys{where}: {', '.join(siblings)}."
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Did you mean {elsewhere[0]!r}? {valid}" if elsewhere else valid


def describe_problem(error: ErrorDetails) -> str:
    """What pydantic found wrong, as the end of a sentence."""
    return error["msg"].removeprefix("Value error, ").removesuffix(".")


def validate(
    model: type[Config], data: dict[str, Any], source: str = "", prefix: str = ""
) -> Config:
    """Build a model from data.

    Raises:
        UserError: about the first key that is unknown or has an invalid value; `source` (a file,
            for example) is named before the key, and `prefix` is the section that the keys are of.
    """
    try:
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        unknown = [one for one in error.errors() if one["type"] == "extra_forbidden"]
        first = (unknown or error.errors())[0]  # a misspelt key is also missing
        given = "in the file" if source else "in the recipe or with --set"
        problem, remedy = _problem_and_remedy(model, first, given, prefix)
        path = ".".join(str(part) for part in first["loc"])
        key = prefix + path if path else prefix[:-1] or ("the file" if source else "recipe")
        # The value of a missing key, or of an invalid section, is a whole section: it would only
        # hide the message.
        value = None if isinstance(first["input"], dict) else first["input"]
        raise UserError(f"{source}, {key}" if source else key, value, problem, remedy) from None


def _problem_and_remedy(
    model: type[BaseModel], error: ErrorDetails, given: str, prefix: str
) -> tuple[str, str]:
    """What is wrong with a key, and how to fix it; `given` says where its value is from."""
    path = error["loc"]
    if error["type"] == "extra_forbidden":
        return "there is no such key.", _unknown_key_remedy(model, path, prefix)
    if error["type"] in ("dict_type", "model_type"):
        name = prefix + ".".join(str(part) for part in path)
        named = f"{name}.NAME" if error["type"] == "dict_type" else name
        return "this is a section and not a value.", f"Write [{named}] with its keys below it."
    if error["type"] == "missing":
        parent = _at(model, path[:-1]) or model
        field = parent.model_fields.get(str(path[-1]))
        is_section = field is not None and _section(field.annotation) is not None
        return f"this {'section' if is_section else 'key'} is missing.", "Add it."
    return f"{describe_problem(error)}.", f"Change the value {given}."
