"""One TOML recipe, read into pydantic models, with `--set key=value` on top.

Unknown keys are errors that name the nearest key. Each package owns its own model beside its
code; `loop/recipe/recipe.py` joins them.
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
    """Base of every recipe section: no unknown keys, no silent conversions, no changes after
    reading.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


Config = TypeVar("Config", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; `UserError` where it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            "recipe", path, "there is no such file.", "Give the path of a recipe (*.toml)."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(
            "recipe", path, f"not readable as TOML ({error}).", "Mend the file and run again."
        ) from None


def parse_override(text: str) -> tuple[list[str], Any]:
    """`a.b=value` as (["a", "b"], value). The value is TOML; what is not TOML is taken as a string."""
    key, separator, raw = text.partition("=")
    if not separator or not key.strip():
        raise UserError(
            "--set",
            text,
            "this is not key=value.",
            "Write for example --set train.sft.learning_rate=1e-4.",
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    return [part.strip() for part in key.split(".")], value


def with_overrides(data: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `data` with each `key=value` set, sections made where they are missing."""
    result: dict[str, Any] = json.loads(json.dumps(data, default=str))
    for text in overrides:
        path, value = parse_override(text)
        node = result
        for part in path[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise UserError(
                    "--set", text, f"{part!r} is a value, not a section.", "Set that key itself."
                )
            node = child
        node[path[-1]] = value
    return result


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key that a model accepts, sections included."""
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
    return f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(keys)}."


def validate(model: type[Config], data: dict[str, Any]) -> Config:
    """Build the model; the first problem becomes a `UserError` that names key, value and remedy."""
    try:
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        problem = (
            "there is no such key." if first["type"] == "extra_forbidden" else first["msg"] + "."
        )
        raise UserError(key, first["input"], problem, _remedy(model, key, first["type"])) from None
