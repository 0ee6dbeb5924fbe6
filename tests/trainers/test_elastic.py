"""A node is lost for good: training goes on with the ranks that are left, and ends where it would
have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.trainers.engine.test_resume import largest_difference
from tests.trainers.support.ranks import job, make_task, run_ranks
from tests.trainers.test_launch import CONFIG, PATIENCE_S, ROOT, ROWS


@pytest.mark.ray
@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_training_goes_on_with_one_rank_when_a_node_is_lost(
    tiny_folder: Path, tmp_path: Path
) -> None:
    straight = make_task("sft", tiny_folder, tmp_path / "straight", ROWS)
    run_ranks(2, [job(straight, CONFIG)])
    lost = make_task("sft", tiny_folder, tmp_path / "lost", ROWS)
    config = CONFIG | {"min_workers": 1, "threads_per_worker": 2}
    command = [
        sys.executable,
        "-m",
        "tests.trainers.support.losing_a_node",
        json.dumps(asdict(lost)),
        json.dumps(config),
        "7",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        text=True,
        timeout=PATIENCE_S,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert json.loads(lost.sibling_path("engine.json").read_text())["model"]["ranks"] == 1
    assert [step.step for step in lost.metrics()] == [step.step for step in straight.metrics()]
    assert largest_difference(straight, lost) < 1e-5
