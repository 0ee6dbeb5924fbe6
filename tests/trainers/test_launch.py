"""Workers and drivers killed at some step: the same command goes on, and ends with the very same
weights."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.cluster.connection import Cluster
from infra.errors import UserError
from tests import ROOT
from tests.trainers.engine.test_resume import largest_difference
from tests.trainers.support.ranks import job, make_task, run_ranks
from trainers.config import TrainConfig
from trainers.launch import scaling, with_workers
from trainers.task import Task

PATIENCE_S = 900.0
ROWS = [{"prompt": f"question {i}", "completion": "some answer " * (1 + i % 5)} for i in range(120)]
CONFIG: dict[str, Any] = {
    "num_workers": 2,
    "precision": "float32",
    "batch_tokens": 80,
    "max_tokens": 96,
    "save_steps": 3,
    "zero_stage": 2,
    "sft": {"learning_rate": 1e-3, "epochs": 2},
    "max_failures": 3,
    "threads_per_worker": 1,
    "timeout_s": 300,
}


def start(task: Task) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tests.trainers.support.launching",
        json.dumps(asdict(task)),
        json.dumps(CONFIG),
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def workers(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    processes = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                processes.append(process)
        except psutil.NoSuchProcess:
            continue
    return processes


def wait_for(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if driver.poll() is not None:
            raise AssertionError(f"the driver ended first: {driver.communicate()[0][-3000:]}")
        assert time.monotonic() < deadline
        time.sleep(0.05)


def num_steps(task: Task) -> int:
    return len(task.metrics_file().read_text().splitlines()) if task.metrics_file().exists() else 0


def finish(driver: subprocess.Popen[str]) -> None:
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output[-4000:]


def end(driver: subprocess.Popen[str]) -> None:
    """Kill the driver and everything that it started."""
    family = [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]
    for process in family:
        if process.is_running():
            process.kill()
    driver.communicate()
    psutil.wait_procs(family, timeout=60)


@pytest.mark.ray
@pytest.mark.timeout(3600)
def test_killed_ranks_worker_groups_and_drivers_change_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    straight = make_task("sft", tiny_folder, tmp_path / "straight", ROWS)
    run_ranks(2, [job(straight, CONFIG)])
    total = len(straight.metrics())
    killed = make_task("sft", tiny_folder, tmp_path / "killed", ROWS)
    kill_steps = sorted(random.Random(5).sample(range(4, total - 8), 3))
    driver = start(killed)
    try:
        wait_for(lambda: num_steps(killed) >= kill_steps[0], driver)
        workers(driver)[0].send_signal(signal.SIGKILL)
        wait_for(lambda: num_steps(killed) >= kill_steps[1] and len(workers(driver)) == 2, driver)
        for worker in workers(driver):
            worker.send_signal(signal.SIGKILL)
        wait_for(lambda: num_steps(killed) >= kill_steps[2], driver)
    finally:
        end(driver)
    assert not Path(killed.target).exists()
    again = start(killed)
    try:
        finish(again)
    finally:
        if again.poll() is None:
            end(again)
    assert largest_difference(straight, killed) == 0.0
    assert [s.step for s in killed.metrics()] == list(range(total))
    assert [s.loss for s in killed.metrics()] == [s.loss for s in straight.metrics()]


def test_more_workers_than_there_are_is_said_unless_their_number_may_change() -> None:
    cluster = Cluster(num_cpus=2, num_gpus=0)
    with pytest.raises(UserError, match="the cluster has 2 CPUs"):
        with_workers(TrainConfig(num_workers=3), cluster)
    elastic = with_workers(TrainConfig(num_workers=3, min_workers=1), cluster)
    assert scaling(elastic, cluster).num_workers == (1, 3)
    assert elastic.min_items == 3, "every step has a row for each rank that there may be"


def test_ranks_are_settled_by_what_the_cluster_has() -> None:
    gpus = Cluster(num_cpus=2, num_gpus=8)
    assert with_workers(TrainConfig(), gpus).num_workers == 8
    assert scaling(with_workers(TrainConfig(), gpus), gpus).use_gpu
    assert with_workers(TrainConfig(), Cluster(num_cpus=16, num_gpus=0)).num_workers == 1
