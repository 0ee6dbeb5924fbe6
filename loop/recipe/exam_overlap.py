"""The exam is no further suite: its items under another path, or its task under another name.

Such a suite would bring the items for development and the sealed ones to the gate.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.errors import UserError
from loop.gate.aim import ExamConfig
from loop.gate.config import SuiteConfig
from loop.gate.suites.items.exam import exam_parts
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.harness import LM_EVAL
from loop.gate.suites.items.sources import LM_EVAL_PREFIX, suite_items


def check_no_overlap(exam: ExamConfig, suites: Mapping[str, SuiteConfig]) -> None:
    """Raises `UserError` for a suite that has items of the exam, whatever its kind."""
    parts = exam_parts(exam)
    contents = {
        _content(item)
        for part in (parts.development, parts.gate, parts.sealed)
        for item in part.values()
    }
    for name, suite in suites.items():
        if suite.kind != LM_EVAL:
            _check_items(name, suite, contents)
        elif exam.file == f"{LM_EVAL_PREFIX}{suite.file}":
            raise _overlap(name, suite, "its items are those of the exam")


def _check_items(name: str, suite: SuiteConfig, contents: set[str]) -> None:
    items = suite_items(name, suite).values()
    shared = sum(_content(item) in contents for item in items)
    if shared:
        raise _overlap(name, suite, f"{shared} of its {len(items)} items are items of the exam")


def _overlap(name: str, suite: SuiteConfig, problem: str) -> UserError:
    problem = f"{problem}, and would show the gate its other parts."
    remedy = "Leave these items out of it, or the suite."
    return UserError(f"gate.suites.{name}.file", suite.file, problem, remedy)


def _content(item: FileItem) -> str:
    """What is asked and what is right, however the item is scored; spaces do not matter."""
    text = item.right_text or f"{item.prompt} {item.reference}"
    return " ".join(text.split())
