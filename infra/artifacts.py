"""Writes files and folders atomically (temporary name, sync, rename); computes their digests."""

from __future__ import annotations

import errno
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
    """Sync a file, or a folder with everything below it, to disk."""
    targets = [path, *path.rglob("*")] if path.is_dir() else [path]
    for target in targets:
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_folder(path: Path, key: str) -> None:
    """Check that a folder exists and can be written, or can be made, without making it.

    Raises:
        UserError: about `key`, if not.
    """
    remedy = "Give a folder that you can write to."
    try:
        existing = next(one for one in (path, *path.absolute().parents) if one.exists())
        is_folder = existing.is_dir()
    except OSError as error:  # a name that is too long, or a folder that may not be looked into
        problem = f"this path cannot be used ({error.strerror})."
        raise UserError(key, path, problem, remedy) from None
    if not is_folder:
        subject = "this" if existing == path else f"{str(existing)!r}"
        raise UserError(key, path, f"{subject} is a file.", "Give a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(key, path, f"you cannot write to {str(existing)!r}.", remedy)


def make_folder(path: Path, key: str) -> None:
    """Make a folder and its parents, unless they exist.

    Raises:
        UserError: about `key`, if it cannot be made or written.
    """
    check_folder(path, key)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        problem = f"this folder cannot be made ({error.strerror})."
        raise UserError(key, path, problem, "Give a folder that you can write to.") from None


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a scratch folder, which is renamed to `target` if the block ends without an error.

    If another process has created `target` meanwhile, the scratch folder is deleted: the name
    determines the content.
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


def read_input(path: Path) -> bytes:
    """The bytes of a file that a user names.

    Raises:
        OSError: if it cannot be read, or is a device such as /dev/zero, which may have no end.
    """
    if path.is_char_device():
        raise OSError("it is a device and not a file")
    return path.read_bytes()


def atomic_write(target: Path, data: bytes) -> None:
    """Write a file so that a reader sees either the old or the new content."""
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
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """The SHA-256 over names and contents of a folder's files, in order of their names.

    README.md (model card) and ratchet.json (provenance) are left out, because they are written
    after the digest is known.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in WRITTEN_LATER):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()


def folder_size(folder: Path) -> int:
    """The total size of the files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def require_free_space(folder: Path, num_bytes: int, key: str) -> None:
    """Check that the disk of a folder has `num_bytes` free.

    Raises:
        UserError: about `key`, if it has less, or the folder cannot be made.
    """
    make_folder(folder, key)
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        problem = (
            f"the disk has {free / 1e9:.2f} GB free and this run needs about"
            f" {num_bytes / 1e9:.2f} GB."
        )
        raise UserError(key, folder, problem, "Free some space or give another folder with --run.")
