"""A training step to run, as plain data that a driver can write down without loading torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from infra.records import TrainStep


@dataclass(frozen=True)
class Task:
    """One training step kind to run: from which folder to which, on which data."""

    kind: str
    source: str
    target: str
    generation: int
    seed: int
    data: str
    """Parquet file: for sft rows of prompt (empty for a passage) and completion; for dpo prompt, chosen, rejected."""

    def rows(self) -> list[dict[str, Any]]:
        """The data, in the file's order."""
        rows: list[dict[str, Any]] = pq.read_table(self.data).to_pylist()
        return rows

    def metrics_file(self) -> Path:
        """Where the first rank writes one JSON line an optimiser step."""
        return Path(self.data).with_name(f"{self.kind}.metrics.jsonl")

    def metrics(self) -> list[TrainStep]:
        """The metrics of a finished task."""
        lines = self.metrics_file().read_text(encoding="utf-8").splitlines()
        return [TrainStep(**json.loads(line)) for line in lines]
