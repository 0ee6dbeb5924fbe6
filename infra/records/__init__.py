"""The records of the journey from a URL to a decision.

    url -> Page -> Document -> Sample -> Judgment -> Preference -> Checkpoint -> Evaluation ->
    Decision

Every record is frozen and carries a content key and the key of its parent, so that a
weight can be traced to its pages and a page to the generations that learned from it.
"""

from __future__ import annotations

from infra.records.crawl import Document, Page, Permission, Request
from infra.records.gate import AliasEvent, Decision, Evaluation, GateTest, ItemScore
from infra.records.keys import content_key, now, unit_hash
from infra.records.labels import Completion, Judgment, Preference, Sample
from infra.records.training import Checkpoint, DataFact, TrainStep

__all__ = [
    "AliasEvent",
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
    "Preference",
    "Request",
    "Sample",
    "TrainStep",
    "content_key",
    "now",
    "unit_hash",
]
