"""Suites whose items come from a file: multiple choice, minimal pairs, gold answers, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from typing_extensions import override

from infra.store import Store
from loop.gate.config import BITS, SuiteConfig
from loop.gate.estimates import bits_per_byte
from loop.gate.rules import SuiteRule
from loop.gate.suites.base import Item, Metric, Scorer, Suite
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.sources import suite_items

MAX_GOLD_BYTES = 2000
"""Of a longer gold answer the beginning is scored, so that it fits into a model's window."""


class NamedSuite(Suite):
    """A suite named in the recipe, with all its items in memory: (unit, content) by item id.

    The order in which items are drawn depends on the salt of the run.
    """

    chunk = 32

    def __init__(
        self,
        store: Store,
        rule: SuiteRule,
        config: SuiteConfig,
        salt: str,
        items: Mapping[str, tuple[str, Any]],
    ) -> None:
        self._store, self._salt, self._items = store, salt, items
        self.rule, self.limit = rule, min(config.items, len(items))

    @override
    def draw(self, attempt: int, start: int) -> list[Item]:
        """The next items; those of pages that were forgotten since they were drawn are left out."""
        count = min(self.chunk, self.limit - start)
        while drawn := self._store.gate.draw_items(
            attempt, self.name, start, count, self._table(), self._salt, self.rule.reuse
        ):
            items = [self._item(*one) for one in drawn if one[0] in self._items]
            if items:
                return items
            start = drawn[-1][2] + 1
        return []

    def all_items(self) -> list[Item]:
        """Every item, in a fixed order; nothing is drawn, so nothing is used up."""
        ordered = enumerate(sorted(self._items.items()))
        return [self._item(item_id, unit, i) for i, (item_id, (unit, _)) in ordered]

    def _item(self, item_id: str, unit: str, position: int) -> Item:
        content = self._items[item_id][1]
        return Item(item_id, unit, position, self.size(content), content)

    def size(self, content: Any) -> int:
        """The bytes of an item if scores are per byte, else 1."""
        del content
        return 1

    @override
    def plan(self, attempt: int) -> int:
        return self._store.gate.plan_items(
            attempt, self.name, self.limit, self._table(), self.rule.reuse
        )

    def _table(self) -> pa.Table:
        units = [unit for unit, _ in self._items.values()]
        return pa.table({"item_id": list(self._items), "unit": units})

    @override
    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        del candidate
        return []


class FileSuite(NamedSuite):
    """A suite with the items of a JSON lines file, or with those that are given."""

    def __init__(
        self,
        store: Store,
        rule: SuiteRule,
        config: SuiteConfig,
        salt: str,
        items: Mapping[str, FileItem] | None = None,
    ) -> None:
        chosen = suite_items(rule.name, config) if items is None else items
        super().__init__(store, rule, config, salt, with_units(chosen))


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


class GoldBits(FileSuite):
    """Bits per byte of a gold answer given its prompt: lower is better.

    Prompt and answer are joined as they are, and each is cut into tokens alone. A clip and a margin
    in bits per byte are those of held-out text.
    """

    metric = BITS

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        pairs = [(item.content.prompt, scored_part(item.content)) for item in items]
        return [
            [bits_per_byte(logp, item.size) for logp, item in zip(row, items, strict=True)]
            for row in scorer.logps(pairs)
        ]

    @override
    def size(self, content: Any) -> int:
        return len(scored_part(content).encode())


def scored_part(item: FileItem) -> str:
    """The part of a gold answer that is scored: at most `MAX_GOLD_BYTES`, in whole characters."""
    return item.gold_text.encode()[:MAX_GOLD_BYTES].decode(errors="ignore")


def _is_right(item: FileItem, logps: Sequence[float]) -> bool:
    """Whether the right text alone has the highest value; a tie is wrong."""
    values = list(logps)
    if item.kind == "choice":
        sizes = [max(len(text.encode()), 1) for text in item.candidates]
        values = [value / size for value, size in zip(values, sizes, strict=True)]
    best = max(values)
    return values[item.right] == best and values.count(best) == 1


def with_units(items: Mapping[str, FileItem]) -> dict[str, tuple[str, FileItem]]:
    """(unit, item) by id; an item that names no unit is a unit of its own."""
    return {item_id: (item.unit or item_id, item) for item_id, item in items.items()}
