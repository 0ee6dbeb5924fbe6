"""The draws of held-out items made again: which items, how many units, and in which order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import pyarrow as pa

from infra.errors import UserError
from infra.records import AttemptRow
from infra.store import Store
from infra.store.tables.gate import draw_salt
from loop.audit.findings import Finding
from loop.gate.config import EXAM, LABELER_SUITE, SuiteConfig
from loop.gate.rules import BITS_PER_BYTE
from loop.gate.suites.good_text import good_documents
from loop.gate.suites.held_out_text import max_documents
from loop.gate.suites.item_files import with_units
from loop.gate.suites.items.exam import exam_parts
from loop.gate.suites.items.sources import is_file, suite_digest, suite_items
from loop.recipe.recipe import Recipe

Drawn = tuple[str, str]
"""(item id, unit)"""


def check_draws(store: Store, recipe: Recipe) -> Iterator[Finding]:
    """Check the order of every draw, and repeat those whose items are known.

    Known are the documents of the crawl, if none of them came or left since, and the items of a
    file that is unchanged.
    """
    check = _DrawCheck(store, recipe)
    for attempt, suite in store.gate.draws():
        yield Finding(f"draw of attempt {attempt} on {suite}", check.problem(attempt, suite))


@dataclass(frozen=True)
class _Source:
    """What an attempt could draw from at one time, and how many items it might score."""

    items: pa.Table
    per_unit: int
    limit: int | None
    """None if it is not known."""


class _DrawCheck:
    def __init__(self, store: Store, recipe: Recipe) -> None:
        self._store, self._recipe = store, recipe
        self._rules = {rule.name: rule for rule in recipe.gate_rules()}
        self._facts = store.run.facts()
        self._salt = self._facts.get("salt", "")
        self._rows = {row.attempt: row for row in store.gate.attempts()}

    def problem(self, attempt: int, suite: str) -> str:
        """What is wrong with a draw; empty if nothing is."""
        rows = sorted(self._store.gate.drawn_items(attempt, suite))
        if [position for position, _, _ in rows] != list(range(len(rows))):
            return "the positions of its items have gaps"
        rule, row = self._rules.get(suite), self._rows.get(attempt)
        if row is None or (rule is None and suite != LABELER_SUITE):
            return "no attempt draws from it"
        reuse = rule.reuse if rule else True  # the labeler's prompts are new in each generation
        drawn = [(item, unit) for _, item, unit in rows]
        sources = self._sources(row, suite)
        if len(sources) < 2 and not self._is_ordered(drawn, row, suite, reuse):
            return "its items are not in the order that the salt decides"
        if not self._is_repeated(drawn, sources, row, suite, reuse):
            return "other items were there to be drawn first"
        is_planned = rule is not None and rule.role != "report"
        return self._plan_problem(sources, row, suite, reuse) if is_planned else ""

    def _is_ordered(self, drawn: Sequence[Drawn], row: AttemptRow, suite: str, reuse: bool) -> bool:
        salt = draw_salt(self._salt, suite, row.attempt, reuse)
        keys = [(_key(salt, unit), unit, _key(salt, item)) for item, unit in drawn]
        return all(before < after for before, after in pairwise(keys))

    def _is_repeated(
        self,
        drawn: Sequence[Drawn],
        sources: Sequence[_Source],
        row: AttemptRow,
        suite: str,
        reuse: bool,
    ) -> bool:
        """Whether a draw follows its sources, from the first on in the order of time."""
        start = 0 if sources else len(drawn)
        for source in sources:
            order = self._store.gate.draw_again(
                row.attempt, suite, source.items, source.per_unit, self._salt, reuse
            )
            used = {unit for _, unit in drawn[:start]}
            left = (one for one in order if one[1] not in used)
            for mine, again in zip(drawn[start:], left, strict=False):
                if mine != again:
                    break
                start += 1
        return start == len(drawn)

    def _plan_problem(
        self, sources: Sequence[_Source], row: AttemptRow, suite: str, reuse: bool
    ) -> str:
        stored = self._store.gate.planned_units(row.attempt, suite)
        plans = {
            self._store.gate.plan_again(
                row.attempt, suite, one.limit, one.items, one.per_unit, reuse
            )
            for one in sources
            if one.limit is not None
        }
        if not plans or stored in plans:
            return ""
        return f"{stored} units are planned, not {min(plans)}"

    def _sources(self, row: AttemptRow, suite: str) -> list[_Source]:
        """What the attempt could draw from, in the order of time; empty if that is not known."""
        if suite == BITS_PER_BYTE:
            return self._document_sources(row)
        config = self._recipe.gate_config().suites.get(suite)
        if config is None or not self._is_unchanged(suite, config):
            return []
        is_exam = suite == EXAM
        items = exam_parts(self._recipe.aim.exam).gate if is_exam else suite_items(suite, config)
        units = with_units(items)
        table = pa.table({"item_id": list(units), "unit": [unit for unit, _ in units.values()]})
        limit = None if config.kind == "judged" else min(config.items, len(items))
        return [_Source(table, max(1, len(items)), limit)]

    def _is_unchanged(self, suite: str, config: SuiteConfig) -> bool:
        """Whether the items of a suite are in a file that is as it was when the run began."""
        if not is_file(config):
            return False
        try:
            return suite_digest(suite, config) == self._suite_digests.get(suite)
        except UserError:
            return False

    @cached_property
    def _suite_digests(self) -> dict[str, Any]:
        return dict(json.loads(self._facts["recipe"]).get("suites", {}))

    def _document_sources(self, row: AttemptRow) -> list[_Source]:
        """The held-out documents at the time of an attempt.

        A crawl for later generations can come before it, and also while it is interrupted.
        """
        if self._store.curation.has_changed("gate"):
            return []
        config, first, last = self._recipe.gate, *self._crawled(row)
        limit = max_documents(config, self._recipe.budgets()["gate_tokens"])
        sources = []
        for until in range(first, last + 1):
            among = good_documents(self._store, self._recipe.aim, "gate", self._salt, until)
            units = self._store.gate.document_units(config.unit, among)
            sources.append(_Source(units, config.unit_documents, limit))
        return sources

    def _crawled(self, row: AttemptRow) -> tuple[int, int]:
        """The newest generations that had been crawled before an attempt and before its end."""
        decisions = self._store.gate.decisions(row.generation)
        end = max((one.decided_at for one in decisions), default=None)
        first = last = row.generation
        for generation, name, started_at, finished_at in self._store.run.stage_times():
            if name != "crawl":
                continue
            if finished_at is not None and finished_at <= row.registered_at:
                first = max(first, generation)
            if end is None or started_at < end:
                last = max(last, generation)
        newest = self._store.curation.last_crawled_generation()
        return min(first, newest), min(max(first, last), newest)


def _key(salt: str, text: str) -> str:
    return hashlib.md5((salt + text).encode(), usedforsecurity=False).hexdigest()
