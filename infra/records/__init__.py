"""Records of the data, from a URL to the gate's decision.

    URL -> Page -> Document -> Sample -> Judgment -> Preference -> Checkpoint -> Evaluation ->
    Decision

Every record is frozen and has a content key and the key of its parent. So a model can be traced to
the pages it was trained on, and a page to the generations that were trained on it.
"""

from __future__ import annotations

from infra.records.crawl import Document, Page, Permission, Request
from infra.records.gate import (
    AliasEvent,
    AttemptRow,
    Decision,
    Evaluation,
    GateTest,
    ItemScore,
    PickingTest,
)
from infra.records.keys import content_key, now, unit_hash
from infra.records.labels import (
    EMPTY_SIDE,
    EQUAL_SIDES,
    Completion,
    Judgment,
    Preference,
    Sample,
    side_key,
    sides_flaw,
)
from infra.records.training import ANCHOR_ARM, PICKED, RANDOM, Checkpoint, DataFact, TrainStep

__all__ = [
    "ANCHOR_ARM",
    "EMPTY_SIDE",
    "EQUAL_SIDES",
    "PICKED",
    "RANDOM",
    "AliasEvent",
    "AttemptRow",
    "Checkpoint",
    "Completion",
    "DataFact",
    "Decision",
    "Document",
    "Evaluation",
    "GateTest",
    "ItemScore",
    "Judgment",
    "Page",
    "Permission",
    "PickingTest",
    "Preference",
    "Request",
    "Sample",
    "TrainStep",
    "content_key",
    "now",
    "side_key",
    "sides_flaw",
    "unit_hash",
]
