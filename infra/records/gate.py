"""Records of the gate: scores, evaluations, tests, decisions, and where aliases point."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ItemScore:
    """One model's raw score on one item of one suite; `size` is bytes for bits per byte, else 1."""

    attempt: int
    suite: str
    item_id: str
    position: int
    model_digest: str
    value: float
    size: int
    detail: str
    unit: str
    """Items of one unit are not independent of each other."""


@dataclass(frozen=True)
class Evaluation:
    """A metric of one model in one attempt with its standard error over `num_items` units."""

    attempt: int
    generation: int
    suite: str
    metric: str
    model_digest: str
    value: float
    standard_error: float
    num_items: int


@dataclass(frozen=True)
class Decision:
    """The gate's word on a candidate, with the evidence it rests on."""

    attempt: int
    """0 where there was none: the data policy let no candidate be trained."""
    generation: int
    outcome: str
    reason: str
    candidate: str
    champion: str
    alpha: float
    log_evidence: float
    log_threshold: float
    num_documents: int
    mean_gain: float
    is_weak: bool
    """Whether it rests on items that earlier attempts were decided on as well."""
    decided_at: datetime


@dataclass(frozen=True)
class GateTest:
    """One sequential test of an attempt, with its evidence after each unit.

    `outcome` is pass, fail or open; `clip`, `bound`, `mean_gain` and its error are in the suite's
    own unit; `path` holds log E after 1, 2, ... units.
    """

    attempt: int
    suite: str
    role: str
    against: str
    other: str
    outcome: str
    clip: float
    bound: float
    num_units: int
    num_items: int
    mean_gain: float
    standard_error: float
    log_evidence: float
    log_threshold: float
    path: tuple[float, ...]


@dataclass(frozen=True)
class AliasEvent:
    """An alias (champion, `best:SUITE`) was moved to a model: never changed, only followed by
    others.
    """

    number: int
    alias: str
    digest: str
    generation: int
    moved_at: datetime
    reason: str
    attempt: int
    """Whose evidence it rests on; 0 where a person moved it."""
