"""Items from a file of JSON lines: multiple choice, minimal pairs, gold answers, prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictInt, ValidationError, model_validator

from infra.config import describe_problem
from infra.errors import UserError
from infra.json_lines import read_json_lines
from infra.records import content_key
from judges.verifying.checks import validate_check
from loop.gate.config import BITS

FILE_KINDS = ("choice", "pairs", "executed")
"""Kinds of suites whose items are of that kind and no other. The items of `bits` have a gold text;
those of the remaining kinds are prompts."""
COMPARING_CHECKS = ("output", "quote", "math")
"""Checks that compare an answer with the reference, so that the reference is itself an answer."""
ITEM_FORM = (
    'Write {"prompt": ..., "choices": [...], "answer": 0}, {"prompt": ..., "gold": ...}, '
    '{"good": ..., "bad": ...} or {"prompt": ...}.'
)


class FileItem(BaseModel):
    """One line of a suite's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = ""
    unit: str = ""
    prompt: str = ""
    choices: tuple[str, ...] = ()
    answer: StrictInt = -1
    gold: str = ""
    """The right answer as the text that continues the prompt, with the space between them."""
    good: str = ""
    bad: str = ""
    reference: str = ""
    check: str = ""
    """How the answer is verified; the forms are those of `judges.verifying.checks`."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> FileItem:
        is_choice = len(self.choices) >= 2 and 0 <= self.answer < len(self.choices)
        is_pair = bool(self.good and self.bad)
        has_other = bool(self.choices or self.good or self.bad)
        is_prompt = bool(self.prompt or self.gold) and not has_other
        if is_choice + is_pair + is_prompt != 1 or not self._fits_together(is_prompt):
            raise ValueError(
                "give `choices` (two or more) with `answer`, or `good` and `bad`, "
                "or `prompt` alone, with `gold` or with `check`"
            )
        if not all(text.strip() for text in self.candidates):
            raise ValueError("one of the texts to choose from is empty")
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("two of the texts to choose from are the same")
        if self.check:
            validate_check(self.check, "check", self.reference)
        texts = (self.id, self.unit, self.prompt, self.gold, self.good, self.bad, self.reference)
        if not _is_unicode(*texts, *self.choices):
            raise ValueError("a text has half of a surrogate pair, which is no character")
        return self

    def _fits_together(self, is_prompt: bool) -> bool:
        """A check belongs to a prompt, and a gold answer to a prompt without a check."""
        return (is_prompt or not (self.check or self.gold)) and not (self.check and self.gold)

    @property
    def kind(self) -> str:
        """One of `FILE_KINDS`, or `prompt`."""
        if self.choices or self.good:
            return "choice" if self.choices else "pairs"
        return "executed" if self.check else "prompt"

    @property
    def gold_text(self) -> str:
        """The right answer as a text: `gold`, the right choice, or the reference of a prompt whose
        check, if there is one, compares with it. Empty if there is none.
        """
        if self.choices:
            return self.choices[self.answer]
        has_reference = not self.check or self.check in COMPARING_CHECKS
        return self.gold or (self.reference if has_reference else "")

    @property
    def right_text(self) -> str:
        """The whole text that a model should find likely, to learn from; empty if there is none."""
        return self.good or (self.prompt + self.gold_text if self.gold_text else "")

    @property
    def candidates(self) -> tuple[str, ...]:
        """The texts to choose from."""
        return self.choices or ((self.good, self.bad) if self.good else ())

    @property
    def right(self) -> int:
        """The index of the right text among the candidates."""
        return self.answer if self.choices else 0


def read_suite_items(key: str, path: Path, kind: str) -> dict[str, FileItem]:
    """The items of a file by id; an item without an id gets the key of its content.

    Of items with the same content the first is kept, whatever their ids and units: two of them
    could land in two parts of an exam.

    Raises:
        UserError: if the file cannot be read or is empty, or a line is not a valid item of `kind`.
    """
    items: dict[str, FileItem] = {}
    contents: set[str] = set()
    for line in read_json_lines(path, key, "Give a file of JSON lines."):
        where = f"{path}, line {line.number}"
        item = _parse_item(line.value, where, key)
        if not _is_of_kind(item, kind):
            raise _wrong_kind(key, where, kind)
        content = content_key(item.model_dump_json(exclude={"id", "unit"}))
        name = item.id or content
        if items.get(name, item) != item:
            problem = f"another item has the id {name!r} too."
            raise UserError(key, where, problem, "Give each item its own `id`, or none.")
        if content not in contents:
            contents.add(content)
            items[name] = item
    if not items:
        raise UserError(key, path, "it has no items.", "Give a file with one JSON object a line.")
    return items


def _wrong_kind(key: str, where: str, kind: str) -> UserError:
    remedy = "Set `kind` to the kind of the items in the file."
    if kind == BITS:
        remedy = "Give it a `gold` text, or `choices` with `answer`, or set `kind` to its kind."
    return UserError(key, where, f"it is not an item of kind {kind}.", remedy)


def _is_unicode(*texts: str) -> bool:
    """Whether texts can be written as UTF-8. JSON can hold lone surrogates, which cannot."""
    return not any("\ud800" <= char <= "\udfff" for text in texts for char in text)


def _is_of_kind(item: FileItem, kind: str) -> bool:
    if kind == BITS:
        return bool(item.gold_text.strip())
    return item.kind == (kind if kind in FILE_KINDS else "prompt")


def _parse_item(value: Any, where: str, key: str) -> FileItem:
    if not isinstance(value, dict):
        raise UserError(key, where, "the line is not a JSON object.", ITEM_FORM)
    try:
        return FileItem.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{part}: " for part in first["loc"])
        problem = f"it is not a valid item ({field}{describe_problem(first)[:200]})."
    raise UserError(key, where, problem, ITEM_FORM)
