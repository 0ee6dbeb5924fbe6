"""Where runs lie on disk. Nothing here opens a database or starts Ray."""

from __future__ import annotations

import os
from pathlib import Path

from infra.artifacts import check_folder
from infra.errors import UserError

BYTES_BESIDE_MODELS = 500_000_000
"""Disk space that a run needs for everything but models."""
DATABASE = "ratchet.duckdb"
"""The name of the database in a run's folder."""
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it in the driver of a submitted job."""


def is_submitted_job() -> bool:
    """Whether this process is the driver of a job that was given to `ray job submit`."""
    return JOB_VARIABLE in os.environ


def _base() -> Path:
    """The folder of relative paths; ~/ratchet for a submitted job, which works in a copy."""
    return Path.home() / "ratchet" if is_submitted_job() else Path.cwd()


def default_root() -> Path:
    """The folder of all runs: $RATCHET_RUNS, or `runs`."""
    return Path(os.environ.get("RATCHET_RUNS") or _base() / "runs")


def run_folder(name: str, folder: str | None) -> Path:
    """The folder of a run: the given one, or `name` in the folder of all runs."""
    return (_base() / folder if folder else default_root() / name).absolute()


def checked_folder(name: str, folder: str | None) -> Path:
    """The folder of a run.

    Raises:
        UserError: if it can neither be used nor made.
    """
    path = run_folder(name, folder)
    check_folder(path, "--run")
    return path


def newest_run() -> Path:
    """The run whose database changed last, in ./runs, $RATCHET_RUNS or ~/ratchet/runs.

    Raises:
        UserError: if there is no run.
    """
    roots = {default_root(), Path("runs"), Path.home() / "ratchet" / "runs"}
    databases = [file for root in roots for file in root.glob(f"*/{DATABASE}")]
    if not databases:
        remedy = "Start one with 'python loop/run.py', or give --run."
        raise UserError("--run", None, "there is no run yet.", remedy)
    return max(databases, key=lambda file: file.stat().st_mtime).parent
