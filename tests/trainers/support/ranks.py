"""Training in processes over gloo without Ray: `run_ranks`, and what each process runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.cluster.connection import free_port
from tests import ROOT
from trainers.task import Task

PASSED_ON = ("RATCHET_CACHE", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
"""Variables of this process that its ranks get; the last two choose among kernels."""


def make_task(
    kind: str, source: Path, folder: Path, rows: Sequence[dict[str, Any]], **options: Any
) -> Task:
    """A task on these rows, which get ids where they have none."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{kind}.parquet"
    pq.write_table(
        pa.Table.from_pylist([{"id": f"{kind}-{i}", **row} for i, row in enumerate(rows)]), data
    )
    return Task(kind, str(source), str(folder / f"{kind}-model"), 1, 3, str(data), **options)


def start_ranks(jobs: Sequence[dict[str, Any]], world_size: int) -> list[subprocess.Popen[str]]:
    """Processes that run jobs one after another; each job has `config`, `task` and perhaps
    `stop_before`."""
    port = str(free_port())
    processes = []
    for rank in range(world_size):
        rank_variables = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world_size,
            "LOCAL_WORLD_SIZE": world_size,
        }
        environment = {k: str(v) for k, v in rank_variables.items()} | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "PYTHONPATH": str(ROOT),
            "DS_ACCELERATOR": "cpu",
            "HF_HUB_OFFLINE": "1",
            "PATH": "/usr/bin:/bin",
            "HOME": str(Path.home()),
        }
        environment |= {k: os.environ[k] for k in PASSED_ON if k in os.environ}
        command = [sys.executable, "-m", "tests.trainers.support.ranks", json.dumps(list(jobs))]
        processes.append(
            subprocess.Popen(
                command,
                env=environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


def job(task: Task, config: dict[str, Any], stop_before: int | None = None) -> dict[str, Any]:
    """One task to run under a configuration."""
    return {"config": config, "task": asdict(task), "stop_before": stop_before}


def run_ranks(world_size: int, jobs: Sequence[dict[str, Any]]) -> str:
    """Run jobs in `world_size` processes to their end; what rank 0 printed."""
    outputs = []
    processes = start_ranks(jobs, world_size)
    for process in processes:
        output, _ = process.communicate(timeout=1500)
        outputs.append(output)
        if process.returncode != 0:
            for other in processes:
                other.kill()
            raise AssertionError(output[-4000:])
    return outputs[0]


def main(jobs: Sequence[dict[str, Any]]) -> None:
    """What a rank runs."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    from tests.trainers.support.rewarders import REWARDERS
    from trainers.config import TrainConfig
    from trainers.engine.engine import prepare_environment
    from trainers.engine.metrics import MetricsFile
    from trainers.steps.base import StepContext
    from trainers.steps.running import run_task

    prepare_environment(600)
    for one in jobs:
        task = Task(**one["task"])
        context = StepContext(task, TrainConfig(**one["config"]), REWARDERS)
        run_task(context, MetricsFile(task, writes=dist.get_rank() == 0), one["stop_before"])
    dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    os._exit(
        0
    )  # gloo's threads may outlive its group, and abort the interpreter while it takes itself down
