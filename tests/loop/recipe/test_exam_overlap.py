"""A suite must not bring items of the exam to the gate."""

from __future__ import annotations

import pytest

from infra.errors import UserError
from loop.gate.aim import ExamConfig
from loop.gate.config import SuiteConfig
from loop.gate.suites.items.file_items import FileItem
from loop.recipe import exam_overlap


def test_a_task_of_the_harness_that_is_the_exam_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = {"0": FileItem(prompt="1 + 1 =", gold=" 2")}
    monkeypatch.setattr(exam_overlap, "items_from", lambda *task: items)
    exam = ExamConfig(file="lm_eval:arithmetic")
    other = {"other": SuiteConfig(file="anagrams", kind="lm_eval")}
    exam_overlap.check_no_overlap(exam, other)
    same = {"same": SuiteConfig(file="arithmetic", kind="lm_eval")}
    with pytest.raises(UserError, match=r"suites\.same\.file = 'arithmetic'.*those of the exam"):
        exam_overlap.check_no_overlap(exam, other | same)
