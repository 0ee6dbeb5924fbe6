"""The two protocols of the gate: a suite gives items, a scorer scores models on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loop.gate.rules import SuiteRule


@dataclass(frozen=True)
class Item:
    """One thing to score. Items of the same `unit` are not independent of each other."""

    item_id: str
    unit: str
    position: int
    """Position in the order in which the attempt has drawn its items, from 0."""
    size: int
    """Bytes if scores are per byte, else 1."""
    content: Any


class Scorer(Protocol):
    """Scores several models on the same items: candidates first, then the champion, the anchor
    last.

    Every method returns one row for each model, in that order.
    """

    num_candidates: int

    def problem(self, candidate: int) -> str:
        """Why a candidate, by its index, cannot be scored at all; empty if it can."""
        ...

    def keep(self, candidates: Sequence[int]) -> None:
        """Go on with these candidates only, by their indices."""
        ...

    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        """Bits per byte of each document, given as the parts of it that are scored."""
        ...

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Log-probability (nats) of each continuation given its context, from (context, text)."""
        ...

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """Short answers to each prompt, of the candidates and the champion only."""
        ...

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """Longer answers to each prompt, of every model."""
        ...

    def lm_eval(self, task: str, indices: Sequence[int]) -> list[list[float]]:
        """Scores on these documents of a task of lm-evaluation-harness."""
        ...

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        """Several sampled texts for each prompt: answers if `asked`, else continuations."""
        ...

    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        """Estimated KL(model, anchor) in nats a token, on each model's own samples."""
        ...


@dataclass(frozen=True)
class Metric:
    """A measure of one model on a suite, with its standard error."""

    name: str
    value: float
    standard_error: float
    num_items: int


class Suite(Protocol):
    """A source of items, and how models are scored on them."""

    rule: SuiteRule
    metric: str
    limit: int
    """Maximum number of items of one attempt."""

    @property
    def name(self) -> str:
        """The name under which its scores are stored."""
        return self.rule.name

    def draw(self, attempt: int, start: int) -> list[Item]:
        """The next items of an attempt, from position `start` on; always whole units.

        Items are marked as used in the store before they are returned.
        """
        ...

    def plan(self, attempt: int) -> int:
        """The number of units that an attempt can draw; stored before the first draw, then fixed.

        It is a goal for the bets (`loop.gate.evidence.Goal`).
        """
        ...

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """The score of each item, one row for each model; NaN for an item without a score."""
        ...

    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        """Further metrics of the candidate, computed from its scores."""
        ...
