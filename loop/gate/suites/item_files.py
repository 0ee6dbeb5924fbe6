"""Suites whose items come from a file: multiple choice, minimal pairs, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import override

from infra.config import describe_problem
from infra.errors import UserError
from infra.json_lines import read_json_lines
from infra.records import content_key
from infra.store import Store
from judges.verifying.checks import validate_check
from loop.gate.config import SuiteConfig
from loop.gate.suites.base import Item, Metric, Scorer, Suite

FILE_KINDS = ("choice", "pairs", "executed")
"""Kinds of suites whose items hold the right answer. The items of other kinds are prompts."""
ITEM_FORM = (
    'Write {"prompt": ..., "choices": [...], "answer": 0}, {"good": ..., "bad": ...} '
    'or {"prompt": ...}.'
)


class FileItem(BaseModel):
    """One line of a suite's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = ""
    unit: str = ""
    prompt: str = ""
    choices: tuple[str, ...] = ()
    answer: int = Field(default=-1)
    good: str = ""
    bad: str = ""
    reference: str = ""
    check: str = ""
    """How the answer is verified; the forms are those of `judges.verifying.checks`."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> FileItem:
        is_choice = len(self.choices) >= 2 and 0 <= self.answer < len(self.choices)
        is_pair = bool(self.good and self.bad)
        is_prompt = bool(self.prompt and not self.choices and not self.good and not self.bad)
        if is_choice + is_pair + is_prompt != 1 or (self.check and not is_prompt):
            raise ValueError(
                "give `choices` (two or more) with `answer`, or `good` and `bad`, "
                "or `prompt` alone or with `check`"
            )
        if self.check:
            validate_check(self.check, "check")
        return self

    @property
    def kind(self) -> str:
        """One of `FILE_KINDS`, or `prompt`."""
        if self.choices or self.good:
            return "choice" if self.choices else "pairs"
        return "executed" if self.check else "prompt"

    @property
    def candidates(self) -> tuple[str, ...]:
        """The texts to choose from."""
        return self.choices or (self.good, self.bad)

    @property
    def right(self) -> int:
        """The index of the right text among the candidates."""
        return self.answer if self.choices else 0


class NamedSuite(Suite):
    """A suite named in the recipe, with all its items in memory: (unit, content) by item id.

    The order in which items are drawn depends on the salt of the run.
    """

    higher_is_better = True
    clip = 1.0
    chunk = 32

    def __init__(
        self,
        store: Store,
        name: str,
        config: SuiteConfig,
        salt: str,
        items: Mapping[str, tuple[str, Any]],
    ) -> None:
        self._store, self._salt, self._items = store, salt, items
        self.name, self.role, self.margin = name, config.role, config.margin
        self.reuse, self.limit = config.reuse, min(config.items, len(items))

    @override
    def draw(self, attempt: int, start: int) -> list[Item]:
        count = min(self.chunk, self.limit - start)
        drawn = self._store.gate.draw_items(
            attempt, self.name, start, count, self._table(), self._salt, self.reuse
        )
        return [
            Item(item_id, unit, position, 1, self._items[item_id][1])
            for item_id, unit, position in drawn
        ]

    @override
    def plan(self, attempt: int) -> int:
        return self._store.gate.plan_items(
            attempt, self.name, self.limit, self._table(), self.reuse
        )

    def _table(self) -> pa.Table:
        units = [unit for unit, _ in self._items.values()]
        return pa.table({"item_id": list(self._items), "unit": units})

    @override
    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        del candidate
        return []


class FileSuite(NamedSuite):
    """A suite with the items of a JSON lines file."""

    def __init__(self, store: Store, name: str, config: SuiteConfig, salt: str) -> None:
        super().__init__(store, name, config, salt, with_units(suite_items(name, config)))


class RightTextSuite(FileSuite):
    """Multiple choice and minimal pairs: 1 if the right text is the most likely one, else 0.

    Choices are compared by log-probability per byte, since they may differ in length (as acc_norm
    in lm-evaluation-harness). The two texts of a pair differ little, so their log-probabilities
    are compared as they are (as in BLiMP).
    """

    metric = "accuracy"

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        pairs = [(item.content.prompt, text) for item in items for text in item.content.candidates]
        return [self._marks(items, logps) for logps in scorer.logps(pairs)]

    def _marks(self, items: Sequence[Item], logps: Sequence[float]) -> list[float]:
        marks, start = [], 0
        for item in items:
            end = start + len(item.content.candidates)
            marks.append(float(_is_right(item.content, logps[start:end])))
            start = end
        return marks


def _is_right(item: FileItem, logps: Sequence[float]) -> bool:
    """Whether the right text alone has the highest value; a tie is wrong."""
    values = list(logps)
    if item.kind == "choice":
        sizes = [max(len(text.encode()), 1) for text in item.candidates]
        values = [value / size for value, size in zip(values, sizes, strict=True)]
    best = max(values)
    return values[item.right] == best and values.count(best) == 1


def suite_items(name: str, config: SuiteConfig) -> dict[str, FileItem]:
    """The items of a suite's file by id.

    Raises:
        UserError: if the file cannot be read, or a line is not a valid item.
    """
    return read_suite_items(f"gate.suites.{name}.file", Path(config.file), config.kind)


def with_units(items: Mapping[str, FileItem]) -> dict[str, tuple[str, FileItem]]:
    """(unit, item) by id; an item that names no unit is a unit of its own."""
    return {item_id: (item.unit or item_id, item) for item_id, item in items.items()}


def read_suite_items(key: str, path: Path, kind: str) -> dict[str, FileItem]:
    """The items of a file by id; an item without an id gets the key of its content.

    Raises:
        UserError: if the file cannot be read or is empty, or a line is not a valid item of `kind`.
    """
    items: dict[str, FileItem] = {}
    for line in read_json_lines(path, key, "Give a file of JSON lines."):
        where = f"{path}, line {line.number}"
        item = _parse_item(line.value, where, key)
        if item.kind != (kind if kind in FILE_KINDS else "prompt"):
            problem = f"it is not an item of kind {kind}."
            raise UserError(key, where, problem, "Set `kind` to the kind of the items in the file.")
        items.setdefault(item.id or content_key(line.text), item)
    if not items:
        raise UserError(key, path, "it has no items.", "Give a file with one JSON object a line.")
    return items


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


def suite_digest(name: str, config: SuiteConfig) -> str:
    """The key of a suite's items. It is part of the identity of a run."""
    items = suite_items(name, config)
    return content_key(*(f"{key} {items[key].model_dump_json()}" for key in sorted(items)))
