"""No item of the exam is in a further suite, and no item of any suite is a prompt to train on.

A suite with items of the exam would bring those for development and the sealed ones to the gate. A
model that trains on an item of a suite is measured on what it has learned by heart.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.errors import UserError
from infra.records import Sample
from loop.gate.aim import ExamConfig
from loop.gate.config import EXAM, SuiteConfig
from loop.gate.suites.items.exam import EXAM_KEY
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.sources import LM_EVAL_PREFIX, has_items, items_from, suite_items


@dataclass(frozen=True)
class _Content:
    """What an item asks and what is right, as it is compared: without spaces and upper case."""

    prompt: str
    whole: str

    @classmethod
    def of_item(cls, item: FileItem) -> _Content:
        """However the item is scored."""
        whole = item.right_text or f"{item.prompt}{item.reference}"
        return cls(_letters(item.prompt), _letters(whole))


def _letters(text: str) -> str:
    """The characters of a text, without spaces, upper case and forms of the same character."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


class _Known:
    """The contents of some items, and the prompts that only one of them has.

    A prompt that many items share, such as "Which is right?", does not name an item.
    """

    def __init__(self, items: Iterable[FileItem]) -> None:
        contents = {_Content.of_item(item) for item in items}
        prompts = Counter(one.prompt for one in contents)
        self._wholes = {one.whole for one in contents}
        self._prompts = {prompt for prompt, count in prompts.items() if prompt and count == 1}

    def has(self, content: _Content) -> bool:
        """Whether an item with this content, or with its prompt alone, is among the items."""
        return content.whole in self._wholes or content.prompt in self._prompts


def check_no_overlap(exam: ExamConfig, suites: Mapping[str, SuiteConfig]) -> None:
    """Raises `UserError` for a suite that has items of the exam, whatever its kind."""
    known = _Known(items_from(EXAM_KEY, exam.file, exam.kind).values())
    for name, suite in suites.items():
        if has_items(suite):
            items = suite_items(name, suite).values()
            shared = sum(known.has(_Content.of_item(item)) for item in items)
            if shared:
                problem = f"{shared} of its {len(items)} items are items of the exam"
                raise _overlap(name, suite, problem)
        elif exam.file == f"{LM_EVAL_PREFIX}{suite.file}":
            raise _overlap(name, suite, "its items are those of the exam")


def _overlap(name: str, suite: SuiteConfig, problem: str) -> UserError:
    problem = f"{problem}, and would show the gate its other parts."
    remedy = "Leave these items out of it, or the suite."
    return UserError(f"gate.suites.{name}.file", suite.file, problem, remedy)


def check_prompts(
    file: str, prompts: Iterable[Sample], items: Mapping[str, Iterable[FileItem]]
) -> None:
    """Raises `UserError` if prompts to train on are among the items of a suite, by its name."""
    contents = [_prompt_content(sample) for sample in prompts]
    for name, own in items.items():
        known = _Known(own)
        shared = sum(map(known.has, contents))
        if shared:
            owner = "the exam" if name == EXAM else f"gate.suites.{name}"
            problem = (
                f"{shared} of its {len(contents)} prompts are items of {owner},"
                " and models would be trained on them."
            )
            raise UserError("judge.prompts", file, problem, "Leave these prompts out.")


def _prompt_content(sample: Sample) -> _Content:
    whole = sample.prompt + sample.completion
    return _Content(_letters(sample.prompt), _letters(whole))
