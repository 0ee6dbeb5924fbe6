"""A training task as plain data, so that the driver can create it without importing torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from infra.records import PICKED, TrainStep, content_key


@dataclass(frozen=True)
class Task:
    """One training step to run: the source and target folder, and the data."""

    kind: str
    source: str
    target: str
    generation: int
    seed: int
    data: str
    """Parquet file of rows with an `id` and further columns by kind. pretrain, sft: prompt (empty
    for a passage) and completion, or `messages` of role and content. dpo: prompt, chosen, rejected,
    probability. kto: prompt, completion, desirable. reward_model: prompt, completions, and pairs of
    chosen, rejected (indices into completions), probability, margin. ppo, grpo, rloo, reinforce_pp:
    prompt, check, reference (for the verifier; can be empty)."""
    reference: str = ""
    """Folder of the reference model of dpo, kto and the policy gradients."""
    reward_model: str = ""
    """Folder of the reward model; ppo's critic starts from it too."""
    passages: str = ""
    """Parquet file as for pretrain, of the passages mixed into policy updates."""
    arm: str = PICKED
    """Which of the generation's candidates it makes."""

    @property
    def reference_folder(self) -> Path:
        """The reference model's folder; the source if no reference is named."""
        return Path(self.reference or self.source)

    @property
    def is_own_reference(self) -> bool:
        """Whether the policy starts as its own reference."""
        return self.reference_folder == Path(self.source)

    @property
    def digest(self) -> str:
        """Key of this task; resume points belong to it."""
        return content_key(json.dumps(asdict(self), sort_keys=True))

    def rows(self) -> list[dict[str, Any]]:
        """Return the data rows, in the file's order."""
        return read_rows(self.data)

    def sibling_path(self, suffix: str) -> Path:
        """Return the path of a file or folder of this task, next to its data."""
        return Path(self.data).with_name(f"{file_stem(self.kind)}.{suffix}")

    def metrics_file(self) -> Path:
        """Return the file to which rank 0 writes one JSON line per step."""
        return self.sibling_path("metrics.jsonl")

    def points_folder(self) -> Path:
        """Return the folder of the resume points, which is removed when the task is done."""
        return self.sibling_path("points")

    def metrics(self) -> list[TrainStep]:
        """Return the metrics of a finished task."""
        lines = self.metrics_file().read_text(encoding="utf-8").splitlines()
        return [
            TrainStep(**(row := json.loads(line)) | {"row_ids": tuple(row["row_ids"])})
            for line in lines
        ]


def file_stem(kind: str) -> str:
    """Return a kind of step as the beginning of a file name; `module:Class` becomes
    `module.Class`.
    """
    return kind.replace(":", ".")


def read_rows(file: str) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file, in its order."""
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows
