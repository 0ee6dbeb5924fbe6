"""Records of the gate: scores, evaluations, tests, decisions, and events of aliases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from infra.records.training import PICKED


@dataclass(frozen=True)
class AttemptRow:
    """A candidate that was registered for an attempt before any item was drawn for it."""

    attempt: int
    generation: int
    arm: str
    candidate: str
    """The digest of its model, as is `champion`."""
    champion: str
    registered_at: datetime


@dataclass(frozen=True)
class ItemScore:
    """A model's raw score on an item of a suite.

    `size` is the number of bytes for bits per byte, else 1.
    """

    attempt: int
    suite: str
    item_id: str
    position: int
    model_digest: str
    value: float
    size: int
    detail: str
    unit: str
    """Items of one unit (for example of one page) are not independent."""


@dataclass(frozen=True)
class Evaluation:
    """A metric of a model in an attempt, with its standard error over `num_items` units."""

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
    """The gate's decision on a candidate, with its evidence."""

    attempt: int
    """0 if the data policy stopped the generation before a candidate was trained."""
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
    """Whether it uses items that earlier attempts used as well."""
    decided_at: datetime
    arm: str = PICKED
    is_lead: bool = True
    """Whether it stands for its generation: the promoted candidate, else the first one."""


@dataclass(frozen=True)
class GateTest:
    """A sequential test of an attempt, with its evidence after each unit.

    `outcome` is pass, fail or open. `clip`, `bound`, `mean_gain` and `standard_error` are in the
    unit of the suite's metric. `path` is log E after 1, 2, ... units.
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
    arm: str = PICKED


@dataclass(frozen=True)
class PickingTest:
    """Whether picking pays, after a generation with both a picked and a random candidate.

    `verdict` is pay, cost, useless or open. `mean_gain` is picked over random since the last
    verdict, in the unit of the metric of `suite`, as is `clip`. The paths are log E after each unit
    since then.
    """

    generation: int
    suite: str
    clip: float
    num_units: int
    mean_gain: float
    standard_error: float
    log_pay: float
    log_cost: float
    log_useless: float
    log_threshold: float
    verdict: str
    pay_path: tuple[float, ...]
    cost_path: tuple[float, ...]
    useless_path: tuple[float, ...]


@dataclass(frozen=True)
class AliasEvent:
    """A move of an alias (`champion`, `best:SUITE`) to a model. Events are never changed."""

    number: int
    alias: str
    digest: str
    generation: int
    moved_at: datetime
    reason: str
    attempt: int
    """The attempt that moved it; 0 if a person did."""
