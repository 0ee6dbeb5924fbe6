"""Reads TOML recipes into pydantic models, and applies `--set key=value`.

An unknown key is an error that suggests the most similar key. Each package defines the section of
its own; `loop/recipe/recipe.py` combines them.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import UserError


class Section(BaseModel):
    """Base class of recipe sections: no unknown keys, no type conversions, no later changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


Config = TypeVar("Config", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file.

    Raises:
        UserError: if it is missing or not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem, remedy = "there is no such file.", "Give the path of a recipe (*.toml)."
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem, remedy = f"it is not valid TOML ({error}).", "Fix the TOML syntax and run again."
    except OSError as error:
        problem, remedy = f"it cannot be read ({error}).", "Give a file that you may read."
    raise UserError("recipe", path, problem, remedy)


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


def _remedy(model: type[BaseModel], key: str, kind: str) -> str:
    if kind != "extra_forbidden":
        return "Change the value in the recipe or with --set."
    keys = known_keys(model)
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.4)
    if not near:
        leaf = key.rsplit(".", 1)[-1]
        near = [k for k in keys if k.rsplit(".", 1)[-1] == leaf][:1]
    return f"Did you mean {near[0]!r}?" if near else f"Valid keys: {', '.join(keys)}."


def validate(model: type[Config], data: dict[str, Any]) -> Config:
    """Build a model from data.

    Raises:
        UserError: about the first key that is unknown or has an invalid value.
    """
    try:
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        problem = (
            "there is no such key." if first["type"] == "extra_forbidden" else first["msg"] + "."
        )
        raise UserError(key, first["input"], problem, _remedy(model, key, first["type"])) from None
