"""Items of suites that are too long for the model, seen before a run spends anything on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.console import warn
from infra.errors import UserError
from infra.models.folders import folder_window, load_tokenizer
from loop.gate.config import BITS, EXAM
from loop.gate.suites.item_files import scored_part
from loop.gate.suites.items.exam import EXAM_KEY
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.sources import items_by_suite
from loop.gate.suites.scorer import LONG_ANSWER_TOKENS
from loop.recipe.recipe import Recipe

SCORED_KINDS = (BITS, "choice", "pairs")
"""Kinds of suites whose items hold texts that a model scores; to others it writes an answer."""


def check_items_fit(recipe: Recipe, base: Path) -> None:
    """Refuse texts that the model's window does not hold; warn of prompts that do not fit in.

    A prompt is cut off at its beginning, so the model would not see an instruction there.

    Raises:
        UserError: for a text to score that is longer than the window.
    """
    suites = dict(_suites(recipe))
    if not suites:
        return
    lengths = _Lengths(load_tokenizer(base, "model.base"), folder_window(base))
    for key, (items, kind) in suites.items():
        lengths.check(key, items, kind)


def _suites(recipe: Recipe) -> Iterator[tuple[str, tuple[Mapping[str, FileItem], str]]]:
    """(key, (items, kind)) of each suite with items of our own form."""
    suites = recipe.gate_config().suites
    for name, items in items_by_suite(suites).items():
        key = EXAM_KEY if name == EXAM else f"gate.suites.{name}.file"
        yield key, (items, suites[name].kind)


@dataclass(frozen=True)
class _Lengths:
    tokenizer: Any
    window: int

    def check(self, key: str, items: Mapping[str, FileItem], kind: str) -> None:
        num_cut = 0
        for name, item in items.items():
            longest = self._answer_tokens(item, kind)
            if longest > self.window - 1:
                problem = f"a text of {longest} tokens is longer than the model's window"
                remedy = f"Shorten it to {self.window - 1} tokens, or leave the item out."
                raise UserError(key, name, f"{problem} ({self.window}).", remedy)
            num_cut += self._num_tokens(item.prompt) + longest > self.window
        if num_cut:
            warn(
                f"{key}: {num_cut} of {len(items)} prompts are longer than the model's window of"
                f" {self.window} tokens, and are cut off at their beginning"
            )

    def _answer_tokens(self, item: FileItem, kind: str) -> int:
        """The tokens that follow the prompt, at most."""
        if kind not in SCORED_KINDS:
            return LONG_ANSWER_TOKENS
        texts = [scored_part(item)] if kind == BITS else item.candidates
        return max(map(self._num_tokens, texts))

    def _num_tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)
