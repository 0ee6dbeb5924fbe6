"""Loads the user's own classes, which a recipe names."""

from __future__ import annotations

import importlib
from typing import Any

from infra.errors import UserError


def find_class(module: str, attribute: str, key: str, name: str, problem: str, remedy: str) -> Any:
    """The attribute of a module.

    Raises:
        UserError: about `key` with the value `name`, if it cannot be imported.
    """
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(key, name, f"{problem} ({error}).", remedy) from None
