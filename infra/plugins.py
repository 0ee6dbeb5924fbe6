"""A user's own classes, named in a recipe."""

from __future__ import annotations

import importlib
from typing import Any

from infra.errors import UserError


def find_class(module: str, attribute: str, key: str, name: str, problem: str, remedy: str) -> Any:
    """`attribute` of `module`; `UserError` about the key's value `name` where there is none."""
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(key, name, f"{problem} ({error}).", remedy) from None
