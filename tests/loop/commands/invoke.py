"""Running a command in this process, as its user types it."""

from __future__ import annotations

import sys

import pytest
from typer import Typer
from typer.testing import CliRunner

from loop.commands.main import app as ratchet_app

HEAVY = ("torch", "transformers", "ray", "sklearn", "matplotlib", "scipy", "scrapy", "deepspeed")
"""Modules that take long to import."""


def invoke(*arguments: str, app: Typer = ratchet_app, text: str | None = None) -> tuple[int, str]:
    """Exit code and output, wide enough that no line of a table is folded."""
    result = CliRunner().invoke(app, arguments, input=text, env={"COLUMNS": "250"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def assert_user_error(outcome: tuple[int, str], *words: str) -> None:
    """Exit code 2, one line with all these words, and no traceback."""
    code, output = outcome
    assert code == 2, output
    assert "Traceback" not in output
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert errors, output
    for word in words:
        assert word in errors[-1]


def loaded(modules: tuple[str, ...] = HEAVY) -> list[str]:
    return [name for name in modules if name in sys.modules]


def without(monkeypatch: pytest.MonkeyPatch, modules: tuple[str, ...] = HEAVY) -> None:
    """Importing any of these modules fails from now on."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
