"""Every key of a recipe as a Markdown page: `python -m loop.recipe.reference > docs/recipes.md`."""

from __future__ import annotations

import re
import sys
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from loop.recipe.recipe import PER_SCALE, Recipe

HEAD = """# Recipes

A recipe is a TOML file. Built in are `quickstart` and `dry_run`; `python loop/run.py NAME` or `PATH`
runs one, and `--set section.key=value` overrides a key (the value is TOML; what is not TOML is taken as
a string). An unknown key is an error that names the nearest one. The resolved recipe is stored with the
run, and a run goes on only with the recipe that began it; `generations` and `cluster` may change.

```toml
name = "mine"
generations = 5
scale = 4.0

[model]
base = "hub:HuggingFaceTB/SmolLM2-360M-Instruct"

[crawl]
seeds = ["https://docs.example.org/"]
contact = "me@example.org"
```

A model is `packaged:NAME`, `tiny:NAME`, `hub:ORG/NAME` or the path of a folder with safetensors weights.
At scale 1 a generation may spend {budgets}.

This page is made by `python -m loop.recipe.reference`.
"""


def _type(field: FieldInfo) -> str:
    text = re.sub(r"typing\.|<class '|'>", "", str(field.annotation))
    return text.replace("|", "or").replace("Literal", "one of ")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default: Any = field.get_default(call_default_factory=False)
    return f"`{default!r}`" if default is not None else "follows `scale`"


def _sections_named(annotation: Any) -> type[BaseModel] | None:
    """The section that a table of sections by name holds."""
    inner = get_args(annotation)
    held = inner[-1] if inner else None
    return held if isinstance(held, type) and issubclass(held, BaseModel) else None


def _rows(model: type[BaseModel], prefix: str) -> tuple[list[str], list[str]]:
    """(rows of this section's own keys, sections below it)."""
    rows, sections = [], []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            if ".NAME" in prefix:
                rows.append(
                    f"| `{name}` | section | | {field.description} Keys as in `[{name}]`. |"
                )
            else:
                sections += section(field.annotation, f"{prefix}{name}")
        elif held := _sections_named(field.annotation):
            sections += section(held, f"{prefix}{name}.NAME")
        else:
            note = (field.description or "").replace("\n", " ")
            rows.append(f"| `{name}` | {_type(field)} | {_default(field)} | {note} |")
    return rows, sections


def section(model: type[BaseModel], name: str) -> list[str]:
    """A heading and a table for one section, then those below it."""
    rows, sections = _rows(model, f"{name}." if name else "")
    words = (model.__doc__ or "").strip().splitlines()[0]
    heading = f"## `[{name}]`" if name else "## Top level"
    return [
        "",
        heading,
        "",
        words,
        "",
        "| key | type | default | |",
        "|---|---|---|---|",
        *rows,
        *sections,
    ]


def page() -> str:
    """The whole page."""
    budgets = ", ".join(
        f"{amount:,} {name.replace('_', ' ')}" for name, amount in PER_SCALE.items()
    )
    return HEAD.format(budgets=budgets) + "\n".join(section(Recipe, "")) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
