"""The user's exam in three parts: for development, for the gate, and sealed.

A hash of an item's unit decides its part. It depends on nothing else, neither on the run nor on the
other items: an item is in the same part in every run, and stays there when the file grows.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.errors import UserError
from infra.records import unit_hash
from loop.gate.aim import ExamConfig
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.sources import items_from

EXAM_KEY = "aim.exam.file"


@dataclass(frozen=True)
class ExamParts:
    """The items of each part, by id."""

    development: dict[str, FileItem]
    """Selection may learn from them; they are never trained on and never decide."""
    gate: dict[str, FileItem]
    sealed: dict[str, FileItem]


def exam_parts(config: ExamConfig) -> ExamParts:
    """The parts of an exam.

    Raises:
        UserError: if the items cannot be read, or a part that should have items has none.
    """
    parts = ExamParts({}, {}, {})
    for item_id, item in items_from(EXAM_KEY, config.file, config.kind).items():
        _part(parts, config, unit_hash("exam", item.unit or item_id))[item_id] = item
    _check_parts(parts, config)
    return parts


def _part(parts: ExamParts, config: ExamConfig, position: float) -> dict[str, FileItem]:
    if position < config.sealed_share:
        return parts.sealed
    is_development = position < config.sealed_share + config.development_share
    return parts.development if is_development else parts.gate


def _check_parts(parts: ExamParts, config: ExamConfig) -> None:
    sizes = (
        ("development", config.development_share, parts.development),
        ("gate", 1.0, parts.gate),
        ("sealed", config.sealed_share, parts.sealed),
    )
    for name, share, items in sizes:
        if share > 0 and not items:
            problem = f"the {name} part has no items."
            raise UserError(EXAM_KEY, config.file, problem, "Give a file with more items or units.")
