"""Records of training: steps, checkpoints, and measures of the training data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

PICKED, RANDOM = "picked", "random"
"""The arms that every recipe may have: a candidate is trained on passages that were picked,
and a control on as many tokens drawn at random. The other data are the same."""
ANCHOR_ARM = ""
"""The anchor was not trained in the run."""


@dataclass(frozen=True)
class TrainStep:
    """An optimiser step of one kind of training (sft, dpo, ppo, ...) of one candidate.

    `row_ids` are the rows of its global batch in order; `metrics` is a JSON object with the kind's
    other metrics.
    """

    generation: int
    kind: str
    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    num_tokens: int
    seconds: float
    row_ids: tuple[str, ...] = ()
    metrics: str = "{}"
    arm: str = PICKED


@dataclass(frozen=True)
class Checkpoint:
    """A model folder and its origin. Generation 0 is the anchor, which has no parent and no arm."""

    digest: str
    path: str
    parent: str
    generation: int
    manifest_digest: str
    recipe_digest: str
    seed: int
    created_at: datetime
    arm: str = PICKED


@dataclass(frozen=True)
class DataFact:
    """A measure of a candidate's training data, and the bounds that it must be within."""

    generation: int
    name: str
    value: float
    low: float
    high: float
    arm: str = PICKED
