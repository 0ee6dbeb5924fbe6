"""Pretraining on passages and supervised fine-tuning on demonstrations (negative log-
likelihood).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from trainers.batches.packing import Bin, Pack
from trainers.batches.rows import Row, RowBuilder
from trainers.steps.base import SupervisedStep


def make_language_row(builder: RowBuilder, data: Mapping[str, Any]) -> Row:
    """Return a conversation, a demonstration, or (without a prompt) a passage as a row."""
    if data.get("messages"):
        return builder.conversation(data["messages"])
    if data.get("prompt"):
        return builder.demonstration(data["prompt"], data["completion"])
    return builder.passage(data["completion"])


class SupervisedFineTuning(SupervisedStep):
    """Negative log-likelihood of completions and their end tokens; prompts are only context."""

    section = "sft"

    @override
    def make_rows(self, data: Mapping[str, Any]) -> list[Row]:
        return [make_language_row(self.builder, data)]

    @override
    def count(self, items: Bin) -> float:
        return float(sum(row.num_trained for i in items for row in self.items[i].rows))

    @override
    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        return -self.engine(pack, summed=True), ()


class Pretraining(SupervisedFineTuning):
    """The same loss on passages, with its own learning rate and epochs."""

    section = "pretrain"
