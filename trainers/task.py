"""A training step to run, as plain data that a driver can write down without loading torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from infra.records import TrainStep, content_key


@dataclass(frozen=True)
class Task:
    """One training step kind to run: from which folder to which, on which data."""

    kind: str
    source: str
    target: str
    generation: int
    seed: int
    data: str
    """Parquet file of rows with an `id`, and for pretrain and sft: prompt (empty for a passage) and
    completion, or `messages` of role and content; dpo: prompt, chosen, rejected, probability; kto:
    prompt, completion, desirable; reward_model: prompt, completions, and pairs of chosen, rejected
    (places in completions), probability, margin; ppo, grpo, rloo, reinforce_pp: prompt, check and
    reference (what a verifier is told, or empty)."""
    reference: str = ""
    """Folder of the model that dpo, kto and the policy gradients stay near."""
    reward_model: str = ""
    """Folder of the reward model, which also starts ppo's critic."""
    passages: str = ""
    """Parquet file like pretrain's, of what is mixed into a policy's updates."""

    @property
    def reference_folder(self) -> Path:
        """The model to stay near: the one that is named, else the one that the step starts from."""
        return Path(self.reference or self.source)

    @property
    def is_own_reference(self) -> bool:
        """Whether the policy starts as its reference."""
        return self.reference_folder == Path(self.source)

    @property
    def digest(self) -> str:
        """Key of exactly this task; points to resume from belong to it."""
        return content_key(json.dumps(asdict(self), sort_keys=True))

    def rows(self) -> list[dict[str, Any]]:
        """The data, in the file's order."""
        return read_rows(self.data)

    def beside(self, suffix: str) -> Path:
        """A file or folder of this task, beside its data."""
        return Path(self.data).with_name(f"{file_stem(self.kind)}.{suffix}")

    def metrics_file(self) -> Path:
        """Where the first rank writes one JSON line a step."""
        return self.beside("metrics.jsonl")

    def points_folder(self) -> Path:
        """Where points to resume from are kept until the task is done."""
        return self.beside("points")

    def metrics(self) -> list[TrainStep]:
        """The metrics of a finished task."""
        lines = self.metrics_file().read_text(encoding="utf-8").splitlines()
        return [
            TrainStep(**(row := json.loads(line)) | {"row_ids": tuple(row["row_ids"])})
            for line in lines
        ]


def file_stem(kind: str) -> str:
    """A kind of step as the beginning of a file's name; one's own is `module:Class`."""
    return kind.replace(":", ".")


def read_rows(file: str) -> list[dict[str, Any]]:
    """Rows of a Parquet file, in its order."""
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows
