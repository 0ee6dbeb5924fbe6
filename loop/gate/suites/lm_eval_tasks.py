"""Tasks of lm-evaluation-harness as suites (the extra `lm-eval`).

The harness builds the questions and scores the answers. We draw the documents and decide.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from infra.store import Store
from loop.gate.config import SuiteConfig
from loop.gate.rules import SuiteRule
from loop.gate.suites.base import Item, Scorer
from loop.gate.suites.item_files import NamedSuite
from loop.gate.suites.items.harness import task_size


class LmEvalTask(NamedSuite):
    """The documents of one task, by their indices."""

    metric = "score"
    chunk = 64

    def __init__(self, store: Store, rule: SuiteRule, config: SuiteConfig, salt: str) -> None:
        self._task = config.file
        size = task_size(f"gate.suites.{rule.name}.file", config.file)
        items = {str(index): (str(index), index) for index in range(size)}
        super().__init__(store, rule, config, salt, items)

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        return scorer.lm_eval(self._task, [item.content for item in items])
