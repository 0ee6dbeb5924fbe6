"""Resume points: float32 weights and moments by parameter name in safetensors, with a digest of
every file.

They do not depend on the number of ranks, the ZeRO stage or offloading, and nothing is unpickled. A
resume point is a folder that is written atomically.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.artifacts import atomic_folder, file_digest
from infra.console import warn

SHARD_BYTES = 1 << 30
KEPT_POINTS = 2
MANIFEST = "point.json"


@dataclass(frozen=True)
class ResumePoint:
    """A resume point on disk: the number of finished steps, and its folder."""

    num_steps: int
    folder: Path

    def load(self, part: str) -> dict[str, Tensor]:
        """Return all tensors of one engine."""
        tensors: dict[str, Tensor] = {}
        for file in sorted(self.folder.glob(f"{part}-*.safetensors")):
            tensors |= load_file(file)
        return tensors


def write_resume_point(
    folder: Path,
    num_steps: int,
    task: str,
    parts: Mapping[str, Iterator[tuple[str, Tensor]]],
    first: bool,
) -> None:
    """Write the state of every engine and remove older resume points. All ranks iterate over the
    state, the first one writes.
    """
    if not first:
        for tensors in parts.values():
            for _ in tensors:
                pass
        return
    with atomic_folder(folder / f"step-{num_steps:08d}") as scratch:
        for part, tensors in parts.items():
            _write_part(scratch, part, tensors)
        digests = {file.name: file_digest(file) for file in sorted(scratch.glob("*.safetensors"))}
        (scratch / MANIFEST).write_text(
            json.dumps({"num_steps": num_steps, "task": task, "files": digests})
        )
    for old in sorted(folder.glob("step-*"))[:-KEPT_POINTS]:
        shutil.rmtree(old, ignore_errors=True)


def _write_part(folder: Path, part: str, tensors: Iterator[tuple[str, Tensor]]) -> None:
    shard: dict[str, Tensor] = {}
    size = number = 0
    for name, tensor in tensors:
        shard[name] = tensor.contiguous().clone()
        size += tensor.nbytes
        if size >= SHARD_BYTES:
            save_file(shard, folder / f"{part}-{number:05d}.safetensors")
            shard, size, number = {}, 0, number + 1
    if shard:
        save_file(shard, folder / f"{part}-{number:05d}.safetensors")


def latest_resume_point(folder: Path, task: str) -> ResumePoint | None:
    """Return the last resume point of this task whose files are complete and unchanged.

    Others are skipped with a warning. None if there is none.
    """
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = json.loads((candidate / MANIFEST).read_text())
            if manifest["task"] != task:
                continue
            for name, digest in manifest["files"].items():
                if file_digest(candidate / name) != digest:
                    raise ValueError(f"{name} was changed")
            return ResumePoint(int(manifest["num_steps"]), candidate)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            warn(f"cannot resume from {candidate}: {error}; trying an earlier resume point")
    return None
