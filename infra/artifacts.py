"""Files that appear whole or not at all: written to a temporary name, fsynced, renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import UserError

WRITTEN_LATER = ("README.md", "ratchet.json")


def fsync_tree(path: Path) -> None:
    """Flush a file, or every file below a folder and the folders themselves, to disk."""
    targets = [path, *path.rglob("*")] if path.is_dir() else [path]
    for target in targets:
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a scratch folder beside `target`; it becomes `target` when the block ends without an
    error.

    If `target` exists by then (another process was faster), the scratch folder is dropped: folders
    are written under names that fix their content.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        fsync_tree(scratch)
        scratch.chmod(0o755)
        if not target.exists():
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def atomic_write(target: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(target)
    finally:
        Path(scratch).unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files, in name order, README.md and
    ratchet.json left out.

    Card and provenance are written after the decision and do not change what the model is.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in WRITTEN_LATER):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def require_free_space(folder: Path, num_bytes: int, key: str) -> None:
    """Raise `UserError` if the disk under `folder` has less than `num_bytes` free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        problem = f"the disk has {free / 1e9:.2f} GB free and this run needs about {num_bytes / 1e9:.2f} GB."
        raise UserError(key, folder, problem, "Free some space or give another folder with --run.")
