"""A driver for tests: trains one task with two workers on a Ray of its own. Arguments: a task and a
configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    from infra.cluster.connection import ClusterConfig, connect
    from trainers.config import TrainConfig
    from trainers.launch import TrainJob, run_training, with_workers
    from trainers.task import Task

    task, config = Task(**json.loads(sys.argv[1])), TrainConfig(**json.loads(sys.argv[2]))
    with connect(ClusterConfig(address="local")) as cluster:
        job = TrainJob(task, with_workers(config, cluster))
        run_training([job], cluster, Path(task.data).parent / "ray", "test")
