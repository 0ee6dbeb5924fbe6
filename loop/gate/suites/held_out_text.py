"""Bits per byte on held-out documents: the suite that every recipe has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from typing_extensions import override

from infra.console import note, warn
from infra.models.text_size import estimated_tokens
from infra.records import Document
from infra.store import Store
from loop.gate.aim import AimConfig
from loop.gate.config import GateConfig
from loop.gate.estimates import num_bytes, windows
from loop.gate.rules import BITS_PER_BYTE, text_rule
from loop.gate.suites.base import Item, Metric, Scorer, Suite
from loop.gate.suites.good_text import good_documents


class HeldOutBits(Suite):
    """Windows of each good held-out document; by default of documents that no attempt has used.

    It is a guard if the aim is an exam.
    """

    metric = BITS_PER_BYTE

    def __init__(
        self, store: Store, config: GateConfig, aim: AimConfig, gate_tokens: int, salt: str
    ) -> None:
        self._store, self._config, self._aim, self._salt = store, config, aim, salt
        self.rule, self.limit = text_rule(aim, config), max_documents(config, gate_tokens)

    @override
    def draw(self, attempt: int, start: int) -> list[Item]:
        config = self._config
        drawn = self._store.gate.draw_documents(
            attempt,
            start,
            min(config.chunk_documents, self.limit - start),
            config.unit,
            config.unit_documents,
            self._salt,
            self._among,
            config.reuse_documents,
        )
        return [document_item(config, *one) for one in drawn]

    @cached_property
    def _among(self) -> list[str]:
        """Found once, before anything is scored: the weights do not change in an attempt."""
        chosen = good_documents(self._store, self._aim, "gate", self._salt)
        held_out = self._store.crawl.pool_counts().get("gate", 0)
        text = f"{len(chosen)} of {held_out} held-out documents may be scored"
        if held_out and not chosen:
            warn(f"{text}: set aim.policy to lenient-1, or nothing can be promoted")
        elif len(chosen) < held_out:
            note(f"{text} (aim.policy, aim.balanced)")
        return chosen

    @override
    def plan(self, attempt: int) -> int:
        config = self._config
        return self._store.gate.plan_documents(
            attempt,
            self.limit,
            config.unit,
            config.unit_documents,
            self._among,
            config.reuse_documents,
        )

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        return scorer.bits([item.content for item in items])

    @override
    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        del candidate
        return []


def document_item(config: GateConfig, document: Document, unit: str, position: int) -> Item:
    """A held-out document as an item: its content is the windows of it that are scored."""
    key, chars = document.document_id, config.document_chars
    parts = windows(document.text, chars, config.document_windows, key)
    return Item(key, unit, position, num_bytes(parts), parts)


def max_documents(config: GateConfig, gate_tokens: int) -> int:
    """The number of held-out documents that one attempt may score with this budget of tokens."""
    return max(1, gate_tokens // estimated_tokens("x" * config.document_chars))
