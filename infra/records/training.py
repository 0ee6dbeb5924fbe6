"""Records of training: steps, checkpoints, and measures of the training data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class TrainStep:
    """One step of one training step kind (sft, dpo, ppo...): which rows, and what came out.

    `row_ids` are the data rows of its global batch in order; `metrics` is a JSON object of what the
    kind reports besides its loss.
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


@dataclass(frozen=True)
class Checkpoint:
    """A model folder and where it came from. Generation 0 is the anchor and has no parent."""

    digest: str
    path: str
    parent: str
    generation: int
    manifest_digest: str
    recipe_digest: str
    seed: int
    created_at: datetime


@dataclass(frozen=True)
class DataFact:
    """A number about what a generation is trained on, and the bounds that it must keep."""

    generation: int
    name: str
    value: float
    low: float
    high: float
